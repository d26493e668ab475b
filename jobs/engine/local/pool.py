"""The pool of a web process: one thread that claims jobs, hands them to children, enforces limits and settles."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import structlog

from jobs.engine import lanes, registry
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.local import news
from jobs.engine.local.claiming import Room
from jobs.engine.local.desk import Desk
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.local.outbox import Outbox
from jobs.engine.local.runs import running_of
from jobs.engine.worker import lease_clock, template
from jobs.engine.worker.batch import Heard
from jobs.engine.worker.leasing import Renewal
from jobs.engine.worker.nudge import Nudge
from jobs.engine.worker.overseer import Overseer
from jobs.engine.worker.pool import ChildPool
from jobs.engine.worker.run_log import RunLog
from jobs.engine.worker.running import Running
from jobs.engine.worker.settlements import Settlement
from jobs.engine.worker.settling import EndedRun
from jobs.engine.worker.slots import QueueOrder, Slots

TRY_AGAIN = timedelta(seconds=0.5)
LONGEST_SLEEP = 5.0
GIVE_UP = 5.0
"""Seconds that outcomes may wait for the database after a shutdown's grace."""
log = structlog.get_logger("local")


class LocalPool(threading.Thread):
    """Runs jobs in children of this process until it is told to stop."""

    def __init__(self, fleet: LocalFleet, environ: dict[str, str] | None = None) -> None:
        super().__init__(name="local-jobs", daemon=True)
        settings = fleet.settings
        self._fleet, self._settings = fleet, settings
        self._selector = selectors.DefaultSelector()
        self._nudge = Nudge(self._selector)
        one_each = settings.model_copy(update={"worker_threads": 1})
        self._children = ChildPool(self._selector, one_each, environ or settings.child_environment())
        self._children.patience = template.patience(fleet)
        self._slots = Slots(settings.local_concurrency, lanes.concurrency(settings))
        self._order = QueueOrder(list(settings.queue_weights), settings.queue_weights, settings.queue_order == "strict")
        name = _new_name()
        self._outbox, self._run_log = Outbox(), RunLog(settings, name)
        self._overseer = Overseer(self._children, self._outbox, settings.cancel_grace)
        self._desk = Desk(fleet, name, settings.local_concurrency, alone=not settings.use_job_queue)
        self._news = news.of(fleet.database)
        self._running: dict[str, Running] = {}
        self._beat_at = self._claim_at = 0.0
        self._stop_at: float | None = None
        self._has_told = self._reachable = False
        self.takes: Sequence[str] = tuple(each.name for each in registry.all_types())
        """The job types of which it also runs what only the ledger has."""
        self.patience = settings.shutdown_grace + timedelta(seconds=2 * GIVE_UP)
        """How long its end may take once it was told to stop."""
        self.ready = threading.Event()
        """Whether it takes jobs."""

    def run(self) -> None:
        """Work until told to stop; while the database is away it is waited for."""
        try:
            self._children.start()
            self._news.wake(self._nudge.send)
            while not self._done():
                self._turn()
        except Exception:
            log.exception("the pool of local jobs has ended; its jobs are given back")
        finally:
            self._close()

    def stop(self, grace: timedelta | None = None) -> None:
        """Take no more; runs that have not ended when the grace is over are given back. Safe in signal handlers."""
        until = time.monotonic() + (self._settings.shutdown_grace if grace is None else grace).total_seconds()
        self._stop_at = until if self._stop_at is None else min(until, self._stop_at)
        self._nudge.send()

    def _done(self) -> bool:
        if self._stop_at is None:
            return False
        is_over = time.monotonic() > self._stop_at + GIVE_UP
        return is_over or not (self._running or self._outbox.waiting)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.data == "wake":
                self._nudge.take()
                self._claim_at = 0.0
            else:
                self._hear(self._children.events(key.data))
        self._hear(self._children.look())
        if self._stop_at is not None and not self._has_told:
            self._has_told = True
            self._children.tell_stopping()
        self._overseer.enforce(lambda: list(self._running.values()), self._stop_at)
        try:
            self._speak()
            self._reachable = True
        except BrokerUnavailable as error:
            if self._reachable:
                log.warning("the database is away", reason=str(error))
            self._reachable = False
            self._claim_at = self._beat_at = time.monotonic() + TRY_AGAIN.total_seconds()

    def _patience(self) -> float:
        now = time.monotonic()
        times = self._overseer.next_at(self._running.values, self._stop_at)
        times += [at for at in (self._children.look_at, self._outbox.due_at, self._beat_at) if at is not None]
        if self._stop_at is None and self._slots.free:
            times.append(self._claim_at)
        if self._stop_at is not None:
            times.append(max(now, self._stop_at) + GIVE_UP)
        return min(LONGEST_SLEEP, max(0.0, min(times) - now))

    def _speak(self) -> None:
        """Everything that the database is told or asked in this turn. Raises BrokerUnavailable."""
        now = time.monotonic()
        if not self.ready.is_set():
            self._desk.join(self._desk.name)
            self.ready.set()
        if now >= self._beat_at:
            self._beat()
        elif self._claim_at <= now and self._running:
            self._cancel(self._desk.cancelled())
        self._settle()
        if self._stop_at is None and self._slots.free and self._claim_at <= now:
            self._claim()

    def _beat(self) -> None:
        beat = self._desk.beat()
        self._beat_at = time.monotonic() + self._desk.every.total_seconds()
        self._cancel(beat.cancelled)
        if beat.lost:
            log.warning("this pool was taken for dead: its runs are stopped", pool=self._desk.name)
            self._overseer.renewed(Renewal(set(self._running), set(), 0))
            self._desk.join(_new_name())
            self._nudge.send()

    def _cancel(self, executions: Iterable[str]) -> None:
        for execution in executions:
            if execution in self._running:
                self._overseer.cancel(execution, self._settings.cancel_grace)
                self._nudge.send()

    def _settle(self) -> None:
        for ended, word in self._outbox.write(self._desk):
            running = self._running.pop(ended.running.execution_id)
            about = EndedRun(running, ended.outcome, ended.begun, ended.ended, _NO_SETTLEMENT, False)
            self._run_log.write([about], [word])
            self._claim_at = 0.0

    def _claim(self) -> None:
        free = self._slots.free
        queues = list(self._settings.queue_weights)
        picks = [queues[number - 1] for number in self._order.picks(free)]
        held_until = lease_clock.now() + self._settings.lease.total_seconds()
        claimed = self._desk.claim(Room(free, self._slots.free_by_lane(), picks, queues), self.takes)
        self._order.taken(len(claimed.rows))
        now = time.monotonic()
        wait = LONGEST_SLEEP if claimed.look_at is None else max(0.0, claimed.look_at - claimed.now)
        self._claim_at = now if claimed.rows else now + wait
        for row in claimed.rows:
            running = running_of(row, self._fleet)
            running.held_until = held_until
            self._begin(running, datetime.fromtimestamp(claimed.now, UTC))

    def _begin(self, running: Running, now: datetime) -> None:
        self._running[running.execution_id] = running
        if self._overseer.may_begin(running, now):
            self._slots.take(running.lane)
            self._overseer.begin([running])

    def _hear(self, events: Iterable[Heard]) -> None:
        for heard in events:
            self._hear_child(heard)

    def _hear_child(self, heard: Heard) -> None:
        running = heard.running
        if heard.kind == "idle":
            self._slots.give(running.lane)
            self._claim_at = 0.0
        elif running.has_ended or self._overseer.is_dying(heard):
            return
        elif heard.ended is not None:
            running.has_ended = True
            outcome = self._overseer.checked(running, heard.ended.outcome, self._stop_at)
            self._outbox.add(running, outcome, heard.ended.begun, heard.ended.ended)
        elif heard.kind == "died":
            running.has_ended = True
            self._outbox.add(running, self._overseer.outcome_of_death(running))
        elif heard.kind in ("passed over", "given back"):
            self._overseer.give_back(running, "it had not begun")
        elif heard.kind in ("progress", "output"):
            self._outbox.report(running, heard.kind, heard.value)

    def _close(self) -> None:
        self.ready.clear()
        self._news.forget(self._nudge.send)
        self._children.close()
        with contextlib.suppress(BrokerUnavailable):  # otherwise the others find out
            self._desk.leave()
        self._selector.close()
        self._nudge.close()
        log.info("pool of local jobs ended", pool=self._desk.name, pid=os.getpid())


_NO_SETTLEMENT = Settlement("", ())


def _new_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}".replace(":", "-")
