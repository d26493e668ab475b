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
from jobs.engine.errors import BrokerUnavailable, Cancelled, Expired, TimedOut
from jobs.engine.fleet import Fleet
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.worker import wire
from jobs.engine.worker.commands import Commands
from jobs.engine.worker.doorbell import Doorbell
from jobs.engine.worker.heartbeat import Heartbeat
from jobs.engine.worker.leasing import Leases
from jobs.engine.worker.pool import ChildPool
from jobs.engine.worker.running import Running
from jobs.engine.worker.settling import Settler
from jobs.engine.worker.slots import QueueOrder, Slots

KILL_AFTER_ASKING = timedelta(seconds=2)
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
        self._doorbell = Doorbell(settings, name, queues, self.wake)
        self._heartbeat = Heartbeat(fleet, name, queues, self._held, self._hear_heartbeat)
        self._commands = Commands(settings, name, self._hear_command)
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()
        self._lost: set[str] = set()
        self._asked: dict[str, float] = {}
        self._request: tuple[str, list[int]] | None = None
        self._lease_at: float | None = 0.0
        self._stop_at: float | None = None
        self.begun = 0
        self.max_jobs: int | None = None

    def run(self) -> None:
        """Work. Raises BrokerUnavailable when Redis can't be reached at the start."""
        self.pool.start()
        self._heartbeat.beat_once()
        for thread in (self._heartbeat, self._commands, self._doorbell):
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
                for running, message in self.pool.events(key.data):
                    self._hear_child(running, message)
        self._enforce()
        self._settler.flush()
        if self._stop_at is None and self._lease_at is not None and self._lease_at <= time.monotonic():
            self._lease()

    def _patience(self) -> float | None:
        now = time.monotonic()
        times = [running.kill_at for running in self._running.values() if running.kill_at is not None]
        times += [at for at in (self._stop_at if self._running else None,) if at is not None]
        if self._stop_at is None and self._lease_at is not None:
            times.append(self._lease_at)
        waits = [max(0.0, at - now) for at in times]
        if (wait := self._settler.wait()) is not None:
            waits.append(wait)
        return min(waits) if waits else None

    def _lease(self) -> None:
        """Ask for as many runs as there are free slots; a request whose reply was lost is asked again as it was."""
        if self._request is None:
            free = self._slots.free if self.max_jobs is None else min(self._slots.free, self.max_jobs - self.begun)
            self._request = (uuid4().hex[:20], self._order.picks(free))
        request, picks = self._request
        try:
            leased = self._leases.lease(request, picks, self._slots.free_by_lane())
        except (BrokerUnavailable, redis.RedisError) as error:
            if not isinstance(error, BrokerUnavailable):
                log.error("leasing failed", error=str(error))
            self._lease_at = time.monotonic() + LOOK_AGAIN / 2
            return
        self._request, self._lease_at = None, None
        for running in leased.runs:
            self._begin(running)
        if leased.more and self._slots.free:
            self._lease_at = time.monotonic()
        elif self._slots.free and not self._burst:
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
        if running.cancel_requested:
            self._settler.add(running, of_error(Cancelled("the job was cancelled"), None, 1))
        elif running.expired:
            self._settler.add(running, of_error(Expired("the job had not begun by its deadline"), None, 1))
        else:
            if running.timeout is not None:
                running.kill_at = running.begun_at + (running.timeout + KILL_AFTER_ASKING).total_seconds()
                running.killed_for = "timeout"
            self.pool.run(running)

    def _hear_child(self, running: Running, message: wire.Header | None) -> None:
        if running.execution_id not in self._running:
            return
        if message is None:
            self._settler.add(running, self._outcome_of_death(running))
        elif message["op"] == "done":
            values: dict[str, Any] = message["outcome"]
            wait = values.pop("wait")
            self._settler.add(running, Outcome(**values, wait=None if wait is None else timedelta(seconds=wait)))
        else:
            self._settler.report(running, message["op"], message["value"])

    def _outcome_of_death(self, running: Running) -> Outcome:
        """A child that is gone: we killed it for a reason, or it died and the run is nobody's fault."""
        if running.kill_at is not None and running.kill_at > time.monotonic():
            return Outcome("lost", error_type="WorkerLost", message="its process died while running it")
        if running.killed_for == "timeout":
            error = TimedOut(f"the job ran longer than {running.timeout} and was killed")
            return of_error(error, running.policy.retry if running.policy else None, running.attempt)
        if running.killed_for == "cancelled":
            return of_error(Cancelled("the job was cancelled and killed"), None, 1)
        if running.killed_for == "shutdown":
            return Outcome("released")
        return Outcome("lost", error_type="WorkerLost", message="its process died while running it")

    def _enforce(self) -> None:
        now = time.monotonic()
        with self._lock:
            lost, self._lost = self._lost, set()
            asked, self._asked = self._asked, {}
        for running in list(self._running.values()):
            if running.execution_id in lost:
                log.warning("lease lost: stopping the run", job_id=running.job_id)
                self.pool.kill(running)
            grace = asked.get(running.execution_id, asked.get(running.job_id))
            if grace is not None and running.killed_for != "cancelled":
                running.kill_at, running.killed_for = now + grace, "cancelled"
                self.pool.cancel(running)
            if self._stop_at is not None and now >= self._stop_at:
                running.kill_at, running.killed_for = now, "shutdown"
            if running.kill_at is not None and now >= running.kill_at:
                self.pool.kill(running)
                running.kill_at = now
                self._settler.add(running, self._outcome_of_death(running))

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

    def _hear_heartbeat(self, lost: set[str], cancelled: set[str]) -> None:
        if lost or cancelled:
            with self._lock:
                self._lost |= lost
                self._asked |= {execution: self._settings.cancel_grace.total_seconds() for execution in cancelled}
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
        with self._lock:
            self._asked[which] = grace.total_seconds()
        self.wake()

    def _close(self) -> None:
        self._doorbell.stop()
        self._commands.stop()
        with contextlib.suppress(BrokerUnavailable, redis.RedisError):
            self._leases.lease(uuid4().hex[:20], [], self._slots.free_by_lane())
        self._heartbeat.stop()
        with contextlib.suppress(BrokerUnavailable, redis.RedisError):
            self._leases.leave()
        self.pool.close()
        self._selector.close()
        for sock in (self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                sock.close()
        log.info("worker ended", worker=self._name, pid=os.getpid())
