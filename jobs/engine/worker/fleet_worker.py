"""FleetWorker: what `rq worker -w worker.FleetWorker` and `python worker.py` run."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import FrameType
from typing import Any
from uuid import uuid4

import redis
import structlog
from redis.exceptions import ExecAbortError
from rq import Worker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from jobs.engine import broker, logs
from jobs.engine import fleet as fleets
from jobs.engine.fleet import Fleet
from jobs.engine.ledger.keeper import Keeper
from jobs.engine.worker.leasing import WORKER_KEPT
from jobs.engine.worker.loop import WorkLoop
from jobs.engine.worker.template import Template, patience
from jobs.settings import Settings

log = structlog.get_logger("worker")


class FleetWorker(Worker):
    """An RQ worker that leases several jobs at once and runs them in long-lived children.

    It registers like any RQ worker and obeys RQ's commands and suspension; RQ's own loop, horse and pickle are unused.
    """

    settings: Settings | None = None
    template: Template | None = None
    """Where its children come from: forked by whoever could do so before anything was connected."""

    def __init__(self, queues: Any, name: str | None = None, *args: Any, **kwargs: Any) -> None:
        kwargs["serializer"] = JSONSerializer
        kwargs.setdefault("worker_ttl", int(WORKER_KEPT.total_seconds()))
        super().__init__(queues, name or _new_name(), *args, **kwargs)

    def work(
        self,
        burst: bool = False,
        logging_level: str | None = None,
        date_format: str = "",
        log_format: str = "",
        max_jobs: int | None = None,
        max_idle_time: int | None = None,
        with_scheduler: bool = False,
        dequeue_strategy: Any = None,
    ) -> bool:
        """Work until told to stop; returns whether any job was begun. The order of queues is QUEUE_ORDER's word."""
        settings = self.settings or Settings.from_env()
        logs.configure(settings, "worker")
        fleet = fleets.connect(settings).discover()
        environ = settings.child_environment() | self._exception_handlers()
        loop = WorkLoop(fleet, self.name, self.queue_names(), environ, burst)
        loop.leases.kept = timedelta(seconds=self.default_result_ttl)
        loop.intake.max_jobs = max_jobs
        loop.max_idle = timedelta.max if max_idle_time is None else timedelta(seconds=max_idle_time)
        loop.pool.template = self.template
        loop.pool.patience = patience(fleet)
        self._tell_rq(self._register)
        self._obey_signals(loop, settings)
        log.info("worker started", worker=self.name, pid=os.getpid(), queues=self.queue_names())
        try:
            with Keeper(fleet, "worker"), _scheduler_beside(fleet, burst) if with_scheduler else nullcontext():
                loop.run()
        finally:
            self._tell_rq(self.register_death)
        return loop.intake.begun > 0

    def _register(self) -> None:
        self.register_birth()  # type: ignore[no-untyped-call]
        self.set_state(WorkerStatus.STARTED)

    def _tell_rq(self, register: Callable[[], None]) -> None:
        """Registration for RQ's tools. A Redis that is full or away refuses it: the heartbeat shows the worker too."""
        try:
            register()
        except redis.RedisError as error:
            if broker.unavailable(error) is None and not isinstance(error, ExecAbortError):
                raise
            log.warning("not registered with RQ", reason=str(error))

    def _exception_handlers(self) -> dict[str, str]:
        """RQ's exception handlers by name, since children import them; functions without one can't be called there."""
        names = [f"{each.__module__}.{each.__qualname__}" for each in self._exc_handlers]
        for name in names:
            if "<" in name:
                log.warning("an exception handler inside a function is never called", handler=name)
        return {"EXCEPTION_HANDLERS": ",".join(name for name in names if "<" not in name)} if names else {}

    def _obey_signals(self, loop: WorkLoop, settings: Settings) -> None:
        """The first SIGTERM or SIGINT asks to finish within the grace; a second ends the grace."""
        asked: list[int] = []

        def stop(number: int, _: FrameType | None) -> None:
            asked.append(number)
            loop.stop(settings.shutdown_grace if len(asked) == 1 else timedelta(0))

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)


def _scheduler_beside(fleet: Fleet, burst: bool) -> AbstractContextManager[None]:
    """RQ's `--with-scheduler`; a worker without it does not load the scheduler."""
    from jobs.engine.scheduler import process

    return process.beside(fleet, burst)


def _new_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}".replace(":", "-")
