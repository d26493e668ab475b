"""The web server: a few processes of many threads, since each live connection keeps one thread waiting."""

import os
import shutil
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

COUNTS = "PROMETHEUS_MULTIPROC_DIR"
OWN_COUNTS = "rq-fleet-counts-"

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
    _find_room_for_counts()


def _find_room_for_counts() -> None:
    """The metrics of all processes are summed from files there; the application reads the variable.

    Runs once a server: a reload finds the variable set, and a new server that takes over (USR2) may find the folder of
    the old one in it, which that one will remove.
    """
    given = os.environ.get(COUNTS) or str(settings.prometheus_multiproc_dir or "")
    if not given or Path(given).name.startswith(OWN_COUNTS):
        given = tempfile.mkdtemp(prefix=OWN_COUNTS)
    os.environ[COUNTS] = given
    Path(given).mkdir(parents=True, exist_ok=True)
    for file in Path(given).glob("*.db"):
        file.unlink()


def post_worker_init(worker: Any) -> None:
    """Run local jobs, if there are any, and be ready to keep the ledger. On SIGTERM stop jobs and live connections.

    So it does when the server is killed: its process would serve open connections, and keep the ledger, for hours.
    """
    from deploy.parents import end_with_parent
    from webapp import local_jobs, services
    from webapp.live.connections import close_on_sigterm, connections

    connections.limit(room.live)
    close_on_sigterm()
    application = worker.app.wsgi()
    services.keep_ledger(application)
    local_jobs.start(application.extensions["fleet"])
    end_with_parent()


def worker_exit(server: Any, worker: Any) -> None:
    """Close what is live still, where it ended without SIGTERM; wait for the local jobs, as long as they may run."""
    from webapp import local_jobs
    from webapp.live.connections import connections

    if worker.pid != os.getpid():  # the server, which misses a process that it wanted to kill
        return
    connections.close_all()
    local_jobs.join()


def child_exit(server: Any, worker: Any) -> None:
    """Keep what a process that has ended counted, in one file with that of others, and forget its gauges."""
    from jobs.adapters import process_counts

    try:
        kept = process_counts.keep_ended(Path(os.environ[COUNTS]))
    except Exception as error:  # neither a full disk nor a strange file may end the server
        server.log.error(f"the counts of the process {worker.pid} stay in its own files: {error}")
    else:
        if not kept:
            server.log.warning(f"the counts of the process {worker.pid} stay in its own files until the next one ends")


def on_exit(server: Any) -> None:
    """Leave no folder of counts behind that nobody asked for."""
    if Path(os.environ[COUNTS]).name.startswith(OWN_COUNTS):
        shutil.rmtree(os.environ[COUNTS], ignore_errors=True)
