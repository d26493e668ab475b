"""The scheduler as a process: it outlives every outage of Redis and ends within a second of SIGTERM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import redis
import structlog

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.ledger.keeper import Keeper

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.scheduler.fleet_scheduler import FleetScheduler

ANSWER_WITHIN = timedelta(seconds=0.6)
END_WITHIN = timedelta(seconds=5)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=0.1), timedelta(seconds=0.8)
SIGNALS = {signal.SIGTERM, signal.SIGINT}
AWAY = (redis.RedisError, BrokerUnavailable, OSError)
log = structlog.get_logger(__name__)


def run(fleet: Fleet) -> int:
    """Schedule for a fleet until SIGTERM or SIGINT; returns the process's exit code."""
    from jobs.engine.scheduler.fleet_scheduler import FleetScheduler

    connection = broker.connect(fleet.settings, socket_timeout=ANSWER_WITHIN, purpose="scheduler")
    scheduler = FleetScheduler(fleet.discover(), connection)
    with Keeper(fleet, "scheduler"):
        keep_running(scheduler)
    return 0


@contextmanager
def beside(fleet: Fleet, burst: bool) -> Iterator[None]:
    """Schedule while a worker works (`rq worker --with-scheduler`): in a process of its own, in burst mode once before.

    Side by side with other schedulers; one leads.
    """
    if burst:
        from jobs.engine.scheduler.fleet_scheduler import FleetScheduler

        FleetScheduler(fleet).run(burst=True)
        yield
        return
    code = f"from jobs.engine.scheduler import process; process.main({os.getpid()})"
    started = subprocess.Popen([sys.executable, "-c", code], env=fleet.settings.child_environment())
    try:
        yield
    finally:
        started.terminate()
        try:
            started.wait(END_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def main(parent: int) -> None:
    """Schedule until SIGTERM, or until the worker that started this process has ended."""
    from jobs.engine import fleet, logs
    from jobs.engine.worker.process import die_with
    from jobs.settings import Settings

    die_with(parent)
    settings = Settings.from_env()
    logs.configure(settings, "scheduler")
    sys.exit(run(fleet.connect(settings)))


def keep_running(scheduler: FleetScheduler) -> None:
    """Tick until SIGTERM or SIGINT, which are held back and asked for between steps; then release the locks.

    While Redis is away, or anything else goes wrong, it tries again within a second.
    """
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    log.info("scheduler started", name=scheduler.name)
    try:
        if _tick_until_signalled(scheduler):
            with suppress(*AWAY):
                scheduler.remove_lock()
    finally:
        log.info("scheduler stopped", name=scheduler.name)
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)


def _tick_until_signalled(scheduler: FleetScheduler) -> bool:
    """Returns whether the last tick went well: if not, the locks are left to run out rather than waited for."""
    failures = 0
    wait = timedelta(0)
    while signal.sigtimedwait(SIGNALS, wait.total_seconds()) is None:
        try:
            wait = scheduler.tick(_signalled)
            if failures:
                log.info("scheduling again", name=scheduler.name)
            failures = 0
        except Exception as error:
            if not failures:
                report = log.warning if isinstance(error, AWAY) else log.exception
                report("scheduling failed, trying again", name=scheduler.name, error=repr(error))
            wait = min(FIRST_WAIT * 2 ** min(failures, 10), LONGEST_WAIT)
            failures += 1
    return failures == 0


def _signalled() -> bool:
    return bool(signal.sigpending() & SIGNALS)
