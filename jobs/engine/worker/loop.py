"""The worker's loop: one thread that leases, hands out, listens, enforces limits and settles."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import selectors
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta

import redis
import structlog

from jobs.engine import broker, lanes
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.fleet import Fleet
from jobs.engine.worker.batch import Heard
from jobs.engine.worker.commands import Commands
from jobs.engine.worker.doorbell import Bell, Doorbell
from jobs.engine.worker.exchange import Answer, Exchange
from jobs.engine.worker.follow_ups import FollowUps
from jobs.engine.worker.heartbeat import Heartbeat
from jobs.engine.worker.housekeeping import Housekeeping
from jobs.engine.worker.intake import Intake
from jobs.engine.worker.leasing import Ask, Leases, Renewal
from jobs.engine.worker.nudge import Nudge
from jobs.engine.worker.overseer import Overseer
from jobs.engine.worker.pace import Pace
from jobs.engine.worker.pool import ChildPool
from jobs.engine.worker.requests import Requests
from jobs.engine.worker.roster import Roster
from jobs.engine.worker.run_log import RunLog
from jobs.engine.worker.self_report import SelfReport
from jobs.engine.worker.server_clock import ServerClock
from jobs.engine.worker.settling import EndedRun, Settler
from jobs.engine.worker.slots import QueueOrder, Slots
from jobs.engine.worker.trouble import Trouble, mender

LONGEST_SLEEP = 3600.0
GIVE_UP = 5.0
"""Seconds that outcomes may wait for Redis after a shutdown's grace."""
SHORT_CALL = timedelta(seconds=5)
GARBAGE_EVERY = 20_000
"""New objects after which cycles among them are looked for: Python's 700 are there after a few dozen runs."""
log = structlog.get_logger("worker")


class WorkLoop:
    """Runs jobs of some queues until it is told to stop (or, in burst mode, until there are none)."""

    def __init__(
        self, fleet: Fleet, name: str, queues: Sequence[str], environ: dict[str, str], burst: bool = False
    ) -> None:
        settings = fleet.settings
        self._settings, self._name, self._burst = settings, name, burst
        self._selector = selectors.DefaultSelector()
        self._nudge = Nudge(self._selector)
        self.pool = ChildPool(self._selector, settings, environ)
        self._slots = Slots(settings.worker_concurrency, lanes.concurrency(settings))
        self._client = broker.connect(settings, purpose="worker", socket_timeout=SHORT_CALL)
        self.leases = Leases(self._client, name, queues, fleet)
        clock, mend = ServerClock(), mender(fleet, name, queues)
        self._trouble = Trouble("leasing or settling", mend)
        self._exchange = Exchange(self._client, self.leases, self._selector, clock)
        self._settler = Settler(self._client)
        self._roster = Roster(settings.lease)
        self._pace = Pace(fleet.gated_types)
        order = QueueOrder(queues, settings.queue_weights, settings.queue_order == "strict")
        self._requests = Requests(self._slots, order, self._pace)
        self._run_log = RunLog(settings, name)
        self._overseer = Overseer(self.pool, self._settler, settings.cancel_grace)
        self._doorbell = Doorbell(settings, name, queues, self._selector, self.leases, clock, self._requests.lost)
        self.intake = Intake(
            self._slots, self._requests, self._roster, self._overseer, self.pool, self._doorbell, waits=not burst
        )
        self._heartbeat = Heartbeat(fleet, name, queues, self._roster, self._hear_heartbeat, mend)
        self._report = SelfReport(settings, name, self.pool, self._roster, self._slots)
        self._housekeeping = Housekeeping(fleet, name, queues, self._run_log.tally, self._report, mend)
        self._follow_ups, self._passes_seen = FollowUps(settings, self.wake), 0
        self._commands = Commands(settings, name, self._overseer.command, self.stop, self.drain, self.wake)
        self._stop_at: float | None = None
        self._takes_no_more = self._has_told = False
        self.max_idle, self._busy_at = timedelta.max, 0.0

    def run(self) -> None:
        """Work; where Redis is away at the start it is waited for."""
        self._commands.start()
        self.pool.start()
        self._heartbeat.begin(lambda: self._stop_at is not None)
        for thread in (self._heartbeat, self._housekeeping, self._follow_ups):
            thread.start()
        self._busy_at = time.monotonic()
        gc.set_threshold(GARBAGE_EVERY, *gc.get_threshold()[1:])
        try:
            while not self._done():
                self._turn()
        finally:
            self._close()

    def stop(self, grace: timedelta | None = None) -> None:
        """Take no more; runs that have not ended when the grace is over are requeued. Safe in signal handlers."""
        until = time.monotonic() + (self._settings.shutdown_grace if grace is None else grace).total_seconds()
        ends = self._stop_at is not None and not self._report.is_draining
        self._stop_at, self._report.is_draining = min(until, time.monotonic()) if ends else until, False
        self.wake()

    def drain(self) -> None:
        """Take no more, let what runs end however long it takes, then end. A later `stop` counts as the first."""
        if self._stop_at is None:
            self._stop_at, self._report.is_draining = math.inf, True
            self.wake()

    def wake(self) -> None:
        """Have the loop look around; safe from any thread and in signal handlers."""
        self._nudge.send()

    def _done(self) -> bool:
        if self._stop_at is not None and time.monotonic() > self._stop_at + GIVE_UP:
            log.warning("redis is away: leaving outcomes unwritten; the jobs will run again", runs=len(self._roster))
            return True
        if is_busy := bool(self._roster or self._settler.waiting):
            self._busy_at = time.monotonic()
        if is_busy or self._exchange.give_up_at is not None:
            return False
        if self._requests.is_open if self._stop_at is not None else self._follow_ups.busy:
            return False
        is_idle = self._requests.is_idle and self._passes_seen == self._follow_ups.passes
        spent = self._stop_at is not None or (self.intake.most is not None and self.intake.most <= 0)
        return (is_idle and (self._burst or not self._idle_left())) or spent

    def _idle_left(self) -> float:
        """Seconds until this worker has been idle for as long as it may."""
        return max(0.0, self._busy_at + self.max_idle.total_seconds() - time.monotonic())

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.data == "wake":
                self._nudge.take()
                self._requests.wake()
            elif key.data == "reply":
                self._hear_redis()
            elif isinstance(key.data, Bell):
                rung = self._doorbell.hear(key.data)
                self.intake.take_rung(rung, self._comes_late(rung.age))
            else:
                self._hear(self.pool.events(key.data))
        self._hear(self.pool.look())
        self.intake.begin_again(self._stop_at is not None)
        if self._doorbell.look():
            self._requests.wake()
        if self._stop_at is not None and not self._takes_no_more:
            self._takes_no_more = True
            self._doorbell.stop()
        if self._stop_at is not None and not (self._has_told or self._report.is_draining):
            self._has_told = True
            self.pool.tell_stopping()
        self._overseer.enforce(self._roster.all, self._stop_at)
        if self._exchange.give_up_at is not None and time.monotonic() > self._exchange.give_up_at:
            self._hear_redis()
        self._send()

    def _patience(self) -> float | None:
        now = time.monotonic()
        times = self._overseer.next_at(self._roster.all, self._stop_at)
        times += self._doorbell.next_at()
        if self.intake.again_at is not None:
            times.append(self.intake.again_at)
        if self.pool.look_at is not None:
            times.append(self.pool.look_at)
        if self._stop_at is not None:
            times.append(max(now, self._stop_at) + GIVE_UP)
        asks = not self._exchange.is_leasing and (self._stop_at is None or self._requests.is_open)
        redis_at = (self._settler.due_at,) if self._exchange.give_up_at is None else (self._exchange.give_up_at,)
        times += [at for at in (*redis_at, self._requests.due_at if asks else None) if at is not None]
        times.append(now + (self._idle_left() or LONGEST_SLEEP))
        return min(LONGEST_SLEEP, max(0.0, min(times) - now))

    def _send(self) -> None:
        """Settle what has ended and lease for what is free, in one go; after an error the same again.

        While outcomes are on their way others wait for the next lease, so that many are settled together.
        """
        self._requests.not_before(self.pool.ready_at())
        if self._exchange.is_leasing or (self._exchange.give_up_at is not None and not self._requests.is_due):
            return
        try:
            ended = self._settler.due()
            is_idle = len(self._roster) <= len(ended) + self._exchange.settling and not self._slots.held
            ask = self._requests.ask(self.intake.most, is_idle, self._stop_at is not None)
            if ask is not None:
                self._passes_seen = self._follow_ups.passes
            self._put_under_way(ended, ask)
        except (BrokerUnavailable, redis.RedisError) as error:
            self._failed(error)

    def _put_under_way(self, ended: Sequence[EndedRun], ask: Ask | None) -> None:
        if ended or ask is not None:
            self._settler.sent(ended)
            self._roster.settling([each.running for each in ended], True)
            if not self._exchange.send(ended, ask):
                self._requests.withheld()

    def _hear_redis(self) -> None:
        """Take in what Redis has answered; what can wait is done when the runs that came are under way."""
        written: list[Answer] = []
        try:
            while True:
                if self._exchange.leases_next and self._exchange.has_answer():
                    # what has ended meanwhile goes first, so that Redis has something to do
                    self._put_under_way(self._settler.due(), None)
                self._take(answer := self._exchange.receive())
                written += [answer] if answer.settled is not None else []
                if not self._exchange.has_answer():
                    break
        except (BrokerUnavailable, redis.RedisError) as error:
            self._failed(error)
        self._heartbeat.state = "busy" if self._roster else "idle"
        for answer in written:
            self._tell(answer)

    def _take(self, answer: Answer) -> None:
        self._trouble.over()
        if answer.settled is not None:
            self._settler.settled(answer.ended)
            self._roster.remove([each.running for each in answer.ended])
            if self._burst or self._requests.drains:
                self._requests.wake()
        if answer.leased is not None:
            self.intake.take(answer.leased, answer.took, self._comes_late(answer.took), self._send)

    def _tell(self, answer: Answer) -> None:
        if answer.settled is not None:
            self._run_log.write(answer.ended, answer.settled.words)
            if answer.settled.followed:
                self._follow_ups.wake()

    def _failed(self, error: Exception) -> None:
        self._trouble.met(error)
        self._roster.settling([each.running for each in self._exchange.abandon()], False)
        self._settler.postpone()
        self._requests.postpone()

    def _comes_late(self, age: timedelta) -> bool:
        """Whether what was leased so long ago must not begin any more."""
        return age > self._settings.lease or self._stop_at is not None

    def _hear(self, events: Iterable[Heard]) -> None:
        for heard in events:
            self._hear_child(heard)

    def _hear_child(self, heard: Heard) -> None:
        running = heard.running
        if heard.kind == "idle":
            self._slots.give(running.lane)
            self._requests.wake()
        elif running.has_ended or running not in self._roster or self._overseer.is_dying(heard):
            return
        elif heard.ended is not None:
            running.has_ended = True
            self._pace.ran(running.job_type, heard.ended.ended - heard.ended.begun)
            outcome = self._overseer.checked(running, heard.ended.outcome, self._stop_at)
            self._settler.add(running, outcome, heard.ended.begun, heard.ended.ended)
        elif heard.kind == "died":
            running.has_ended = True
            self._settler.add(running, self._overseer.outcome_of_death(running))
        elif heard.kind == "passed over" or (heard.kind == "given back" and running.is_stopped):
            running.is_tiny = False
            self.intake.put_off(running)
        elif heard.kind == "given back":
            self._overseer.give_back(running, "another job of its process had to be killed")
        elif heard.kind == "begun":
            self._overseer.watch(running)
        elif heard.kind == "slow":
            self._pace.slow(running.job_type)
        else:
            self._settler.report(running, heard.kind, heard.value)

    def _hear_heartbeat(self, renewal: Renewal) -> None:
        self._overseer.renewed(renewal)
        if renewal.lost or renewal.cancelled or renewal.waiting:
            self.wake()

    def _close(self) -> None:
        self._exchange.abandon()
        self._doorbell.stop()
        self._commands.stop()
        self._housekeeping.stop()
        self._follow_ups.stop()
        self._heartbeat.stop()
        with contextlib.suppress(BrokerUnavailable, redis.RedisError):  # otherwise the others sweep the inboxes
            self.leases.lease(self._requests.last())
            if not self._roster:
                self.leases.leave()
        self.pool.close()
        self._selector.close()
        self._nudge.close()
        log.info("worker ended", worker=self._name, pid=os.getpid())
