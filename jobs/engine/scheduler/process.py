"""The scheduler as a process: it outlives every outage of Redis and ends within a second of SIGTERM."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
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
Signalled = Callable[[timedelta], bool]
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
    """Tick until SIGTERM or SIGINT, which are noted and asked for between steps; then release the locks.

    While Redis is away, or anything else goes wrong, it tries again within a second.
    """
    log.info("scheduler started", name=scheduler.name)
    with _signals_noted() as signalled:
        if _tick_until(signalled, scheduler):
            with suppress(*AWAY):
                scheduler.remove_lock()
        log.info("scheduler stopped", name=scheduler.name)


def _tick_until(signalled: Signalled, scheduler: FleetScheduler) -> bool:
    """Returns whether the last tick went well: if not, the locks are left to run out rather than waited for."""
    failures = 0
    wait = timedelta(0)
    while not signalled(wait):
        try:
            wait = scheduler.tick(lambda: signalled(timedelta(0)))
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


@contextmanager
def _signals_noted() -> Iterator[Signalled]:
    """Gives what waits for SIGTERM or SIGINT and tells whether one came, also long ago.

    Not `sigtimedwait`: CPython's tells of a signal that nobody sent when the process was stopped and continued in it.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    handlers = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
    woken = signal.set_wakeup_fd(writer.fileno())
    try:
        yield lambda wait: bool(select.select([reader], [], [], wait.total_seconds())[0])
    finally:
        signal.set_wakeup_fd(woken)
        for each, handler in handlers.items():
            signal.signal(each, handler)
        reader.close()
        writer.close()
