"""The web server: a few processes of many threads, since each live connection keeps one thread waiting."""

import os
import tempfile
from pathlib import Path
from typing import Any

from jobs.settings import Settings

settings = Settings.from_env()

# The metrics of all processes are summed from files here. The application reads the variable, so it is set for it.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.prometheus_multiproc_dir or tempfile.mkdtemp()))
Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)

bind = f"{'127.0.0.1' if settings.environment == 'development' else '0.0.0.0'}:{settings.port}"  # noqa: S104
workers = settings.web_concurrency
worker_class = "gthread"
threads = 1100
worker_connections = 2000
backlog = 1024
keepalive = 30
timeout = 60
graceful_timeout = int(settings.shutdown_grace.total_seconds())
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a heartbeat must not wait for a disk
control_socket_disable = True
logger_class = "deploy.web_logger.WebLogger"
accesslog = "-"


def on_starting(server: Any) -> None:
    """Forget the counts of an earlier start, which nobody adds to any more."""
    for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
        file.unlink()


def post_worker_init(worker: Any) -> None:
    """Close the live connections on SIGTERM, which would otherwise be waited for until the grace is over."""
    from webapp.live.connections import close_on_sigterm

    close_on_sigterm()


def child_exit(server: Any, worker: Any) -> None:
    """Stop counting the gauges of a process that has ended."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
