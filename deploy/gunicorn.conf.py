"""The web server: a few processes of many threads, since each live connection keeps one thread waiting."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy.exposure import host_of, refusal
from deploy.open_files import raise_limit
from deploy.refused_heads import LONGEST_LINE
from jobs.settings import InvalidSettings, Settings

try:
    settings = Settings.from_env()
except InvalidSettings as error:
    sys.exit(f"The environment can't be used:\n{error}")
if not settings.anybody_can_sign_in:
    sys.exit("Nobody could sign in: set JWT_JWKS_URL or JWT_SECRET, or ADMIN_PASSWORD_HASH.")
room = raise_limit()

# The metrics of all processes are summed from files here. The application reads the variable, so it is set for it.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.prometheus_multiproc_dir or tempfile.mkdtemp()))
Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)

bind = f"{host_of(settings)}:{settings.port}"
workers = settings.web_concurrency
worker_class = "deploy.web_worker.PatientWorker"
threads = room.live + 150  # webapp.bodies has at most 100 of the rest: some are left for /healthz and the like
worker_connections = room.connections
backlog = 1024
keepalive = 30
limit_request_line = LONGEST_LINE
timeout = 60
runs_jobs = settings.local_fallback or not settings.use_job_queue
graceful_timeout = int(settings.shutdown_grace.total_seconds()) + (5 if runs_jobs else 0)
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a heartbeat must not wait for a disk
control_socket_disable = True
logger_class = "deploy.web_logger.WebLogger"
accesslog = "-"


def on_starting(server: Any) -> None:
    """End where it must not listen; say when there is little room; forget the counts of an earlier start."""
    if why := refusal(settings, server.cfg.address):
        sys.exit(why)
    if room.low:
        files = f"{room.files} open files allow {room.live} live connections a process, not 1000: raise ulimit -n"
        server.log.warning(files)
    for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
        file.unlink()


def post_worker_init(worker: Any) -> None:
    """Run local jobs, if there are any, and be ready to keep the ledger. On SIGTERM stop jobs and live connections."""
    from webapp import local_jobs, services
    from webapp.live.connections import close_on_sigterm, connections

    connections.limit(room.live)
    close_on_sigterm()
    application = worker.app.wsgi()
    services.keep_ledger(application)
    local_jobs.start(application.extensions["fleet"])


def worker_exit(server: Any, worker: Any) -> None:
    """Wait for the local jobs that still run, as long as they may."""
    from webapp import local_jobs

    local_jobs.join()


def child_exit(server: Any, worker: Any) -> None:
    """Keep what a process that has ended counted, in one file with that of others, and forget its gauges."""
    from jobs.adapters import process_counts

    try:
        kept = process_counts.keep_ended(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    except Exception as error:  # neither a full disk nor a strange file may end the server
        server.log.error(f"the counts of the process {worker.pid} stay in its own files: {error}")
    else:
        if not kept:
            server.log.warning(f"the counts of the process {worker.pid} stay in its own files until the next one ends")
