"""The worker's loop: one thread that leases, hands out, listens, enforces limits and settles."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import redis
import structlog

from jobs.engine import broker, lanes
from jobs.engine.errors import BrokerUnavailable, Cancelled, Expired
from jobs.engine.fleet import Fleet
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.worker.commands import Commands
from jobs.engine.worker.doorbell import Doorbell
from jobs.engine.worker.heartbeat import Heartbeat
from jobs.engine.worker.housekeeping import Housekeeping
from jobs.engine.worker.leasing import SLOT, Ask, Leases, Renewal
from jobs.engine.worker.overseer import Overseer
from jobs.engine.worker.pool import ChildPool, Heard
from jobs.engine.worker.running import Running
from jobs.engine.worker.settling import Settler
from jobs.engine.worker.slots import QueueOrder, Slots

LONGEST_SLEEP = 3600.0
GIVE_UP = 5.0
"""Seconds that outcomes may wait for Redis after a shutdown's grace."""
LOOK_AGAIN = 1.0
"""Seconds until a paused queue, or a Redis that failed, is looked at again."""
SHORT_CALL = timedelta(seconds=5)
log = structlog.get_logger("worker")


class WorkLoop:
    """Runs jobs of some queues until it is told to stop (or, in burst mode, until there are none)."""

    def __init__(
        self, fleet: Fleet, name: str, queues: Sequence[str], environ: dict[str, str], burst: bool = False
    ) -> None:
        settings = fleet.settings
        self._settings, self._name, self._burst = settings, name, burst
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, "wake")
        self.pool = ChildPool(self._selector, environ)
        self._slots = Slots(settings.worker_concurrency, lanes.concurrency(settings))
        self._order = QueueOrder(queues, settings.queue_weights, settings.queue_order == "strict")
        client = broker.connect(settings, purpose="worker", socket_timeout=SHORT_CALL)
        self._leases = Leases(client, name, queues, fleet)
        self._settler = Settler(client, self._leases, self._forget)
        self._overseer = Overseer(self.pool, self._settler)
        self._doorbell = Doorbell(settings, name, queues, self.wake)
        self._heartbeat = Heartbeat(fleet, name, queues, self._held, self._hear_heartbeat)
        self._housekeeping = Housekeeping(fleet, name, queues)
        self._commands = Commands(settings, name, self._hear_command)
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()
        self._request: tuple[str, list[int]] | None = None
        self._lease_at: float | None = 0.0
        self._must_drain = False
        self._stop_at: float | None = None
        self.begun = 0
        self.max_jobs: int | None = None

    def run(self) -> None:
        """Work. Raises BrokerUnavailable when Redis can't be reached at the start."""
        self.pool.start()
        self._heartbeat.beat_once()
        for thread in (self._heartbeat, self._commands, self._housekeeping, self._doorbell):
            thread.start()
        try:
            while not self._done():
                self._turn()
        finally:
            self._close()

    def stop(self, grace: timedelta) -> None:
        """Take no more; runs that have not ended when the grace is over are requeued. Safe in signal handlers."""
        until = time.monotonic() + grace.total_seconds()
        self._stop_at = until if self._stop_at is None else min(until, time.monotonic())
        self.wake()

    def wake(self) -> None:
        """Have the loop look around; safe from any thread and in signal handlers."""
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_write.send(b"!")

    def _done(self) -> bool:
        if self._stop_at is not None and time.monotonic() > self._stop_at + GIVE_UP:
            log.warning("redis is away: leaving outcomes unwritten; the jobs will run again", runs=len(self._running))
            return True
        if self._running or self._settler.waiting:
            return False
        idle = self._lease_at is None and self._request is None
        spent = self.max_jobs is not None and self.begun >= self.max_jobs
        return self._stop_at is not None or (self._burst and idle) or spent

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.data == "wake":
                self._hear_wake()
            else:
                for heard in self.pool.events(key.data):
                    self._hear_child(heard)
        self._overseer.enforce(list(self._running.values()), self._stop_at)
        self._settler.flush()
        if self._stop_at is None and self._lease_at is not None and self._lease_at <= time.monotonic():
            self._lease()

    def _patience(self) -> float | None:
        now = time.monotonic()
        times = self._overseer.next_at(self._running.values(), self._stop_at)
        if self._stop_at is not None:
            times.append(max(now, self._stop_at) + GIVE_UP)
        if self._stop_at is None and self._lease_at is not None:
            times.append(self._lease_at)
        waits = [max(0.0, at - now) for at in times]
        if (wait := self._settler.wait()) is not None:
            waits.append(wait)
        return min(LONGEST_SLEEP, *waits) if waits else None

    def _lease(self) -> None:
        """Ask for as many runs as there are free slots; a request whose reply was lost is asked again as it was."""
        if self._request is None:
            free = self._slots.free if self.max_jobs is None else min(self._slots.free, self.max_jobs - self.begun)
            if self._must_drain and self._running:
                free = 0
            self._request = (uuid4().hex[:20], self._order.picks(free))
        request, picks = self._request
        try:
            lanes = {lane: SLOT * free for lane, free in self._slots.free_by_lane().items()}
            leased = self._leases.lease(Ask(request, SLOT * len(picks), lanes, picks, idle=not self._running))
        except (BrokerUnavailable, redis.RedisError) as error:
            if not isinstance(error, BrokerUnavailable):
                log.error("leasing failed", error=str(error))
            self._lease_at = time.monotonic() + LOOK_AGAIN / 2
            return
        capacity, self._request, self._lease_at = len(picks), None, None
        self._must_drain = leased.must_drain
        for running in leased.runs:
            self._begin(running)
        if leased.must_drain:
            self._doorbell.disarm()
            self._lease_at = time.monotonic() + LOOK_AGAIN
        elif leased.more and self._slots.free:
            self._lease_at = time.monotonic()
        elif capacity and self._slots.free and not self._burst:
            self._doorbell.arm(leased.blocked)
            if leased.blocked:
                self._lease_at = time.monotonic() + LOOK_AGAIN
        else:
            self._doorbell.disarm()

    def _begin(self, running: Running) -> None:
        self.begun += 1
        with self._lock:
            self._running[running.execution_id] = running
        self._slots.take(running.lane)
        self._heartbeat.state = "busy"
        running.has_ended = running.cancel_requested or running.expired
        if running.cancel_requested:
            self._settler.add(running, of_error(Cancelled("the job was cancelled"), None, 1))
        elif running.expired:
            self._settler.add(running, of_error(Expired("the job had not begun by its deadline"), None, 1))
        else:
            self._overseer.watch(running)
            self.pool.run(running)

    def _hear_child(self, heard: Heard) -> None:
        running = heard.running
        if running.execution_id not in self._running or running.has_ended:
            return
        if isinstance(heard.outcome, Outcome):
            running.has_ended = True
            self._settler.add(running, heard.outcome)
        elif heard.kind == "died":
            running.has_ended = True
            self._settler.add(running, self._overseer.outcome_of_death(running))
        elif heard.kind == "begun":
            running.has_begun = True
        else:
            self._settler.report(running, heard.kind, heard.value)

    def _forget(self, running: Running) -> None:
        """A run's outcome is written: its slot is free."""
        with self._lock:
            self._running.pop(running.execution_id, None)
        self._slots.give(running.lane)
        self._heartbeat.state = "busy" if self._running else "idle"
        self._lease_at = time.monotonic()

    def _held(self) -> list[tuple[str, str, str]]:
        with self._lock:
            return [(each.job_id, each.execution_id, each.queue) for each in self._running.values()]

    def _hear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass
        self._lease_at = time.monotonic()

    def _hear_heartbeat(self, renewal: Renewal) -> None:
        self._overseer.lose(renewal.lost)
        for execution in renewal.cancelled:
            self._overseer.cancel(execution, self._settings.cancel_grace)
        if renewal.lost or renewal.cancelled or renewal.waiting:
            self.wake()

    def _hear_command(self, command: dict[str, Any]) -> None:
        match command.get("command"):
            case "shutdown":
                self.stop(self._settings.shutdown_grace)
            case "cancel-job":
                self._ask(str(command.get("job_id")), self._settings.cancel_grace)
            case "stop-job":
                self._ask(str(command.get("job_id")), timedelta(0))
            case "stop-execution":
                self._ask(str(command.get("execution_id")), timedelta(0))
            case "look":
                self.wake()
            case "kill-horse":
                for running in list(self._running.values()):
                    self._ask(running.job_id, timedelta(0))

    def _ask(self, which: str, grace: timedelta) -> None:
        self._overseer.cancel(which, grace)
        self.wake()

    def _close(self) -> None:
        self._doorbell.stop()
        self._commands.stop()
        self._housekeeping.stop()
        self._heartbeat.stop()
        with contextlib.suppress(BrokerUnavailable, redis.RedisError):  # otherwise the others sweep the inboxes
            self._leases.lease(Ask(uuid4().hex[:20], 0, self._slots.free_by_lane()))
            if not self._running:
                self._leases.leave()
        self.pool.close()
        self._selector.close()
        for sock in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                sock.close()
        log.info("worker ended", worker=self._name, pid=os.getpid())
