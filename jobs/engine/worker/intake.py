"""What a worker does with what it was leased: hand it to children, give back what can't begin, look for more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from jobs.engine.worker import lease_clock
from jobs.engine.worker.doorbell import Doorbell, Rung
from jobs.engine.worker.leasing import Leased
from jobs.engine.worker.overseer import Overseer
from jobs.engine.worker.pool import ChildPool
from jobs.engine.worker.requests import LOOK_AGAIN, Requests
from jobs.engine.worker.roster import Roster
from jobs.engine.worker.running import Running
from jobs.engine.worker.slots import Slots


class Intake:
    """Counts what was begun; waits at the doorbell, with a request sent ahead, when nothing is left to lease."""

    def __init__(
        self,
        slots: Slots,
        requests: Requests,
        roster: Roster,
        overseer: Overseer,
        pool: ChildPool,
        doorbell: Doorbell,
        waits: bool,
    ) -> None:
        """`waits` is whether to wait for jobs where there are none."""
        self._slots, self._requests, self._roster = slots, requests, roster
        self._overseer, self._pool, self._doorbell, self._waits = overseer, pool, doorbell, waits
        self._again: list[Running] = []
        self.begun = 0
        self.max_jobs: int | None = None

    @property
    def most(self) -> int | None:
        """How many more jobs may begin, if that is bounded."""
        return None if self.max_jobs is None else self.max_jobs - self.begun

    @property
    def is_idle(self) -> bool:
        """Whether this worker runs nothing and holds nothing that is to be settled."""
        return not self._roster and not self._slots.held

    def take(self, leased: Leased, age: timedelta, late: bool, meanwhile: Callable[[], None]) -> None:
        """Share out what was leased so long ago, and do something `meanwhile`; what came too `late` goes back."""
        self._slots.held = self._requests.answered(leased)
        if leased.outdated is None:
            if not leased.must_drain:
                meanwhile()
            self._slots.held = 0
            self._share_out(leased, age, late)
            self._look_for_more(leased)
        self._slots.held = 0

    def take_rung(self, rung: Rung, late: bool) -> None:
        """The same for what came with an id, to a worker that ran nothing when it asked."""
        if rung.ask is not None and self._requests.answered_early(rung.ask, rung.leased) and rung.leased is not None:
            self._share_out(rung.leased, rung.age, late)
            self._look_for_more(rung.leased)
            has_come = rung.has_come and not rung.leased.jobs
        else:
            has_come = rung.has_come or (rung.ask is not None and self.is_idle)
        if has_come:
            self._requests.wake()

    @property
    def again_at(self) -> float | None:
        """When (monotonic seconds) `begin_again` has something to do; None for never."""
        return min((self._pool.ready_at([each]) for each in self._again), default=None)

    def put_off(self, running: Running) -> None:
        """A run did not begin where it was handed to."""
        running.begun_at = None
        if not running.cancelling:
            running.kill_at = None
        self._again.append(running)

    def begin_again(self, stopping: bool) -> None:
        """Begin what was put off, or give it back; while no process can be forked it waits."""
        again, self._again = self._again, []
        for running in again:
            if running.has_ended:
                continue
            if stopping or not self._requests.may_begin(running):
                self._overseer.give_back(running, "it had not begun")
            elif running.held_until <= lease_clock.now():
                self._overseer.give_back(running, "its lease may have run out before it began")
            elif time.monotonic() < self._pool.ready_at([running]):
                self._again.append(running)
            elif self._has_room_for([running]):
                self._overseer.begin([running])

    def _share_out(self, leased: Leased, age: timedelta, late: bool) -> None:
        self.begun += len(leased.jobs)
        if self._requests.pauses_more:
            self._pool.take_back()
        self._roster.add(leased.runs, age)
        for running in leased.runs if late else ():
            self._overseer.give_back(running, "it came too late to begin")
        ready = [] if late else [each for each in leased.runs if self._overseer.may_begin(each, leased.server_time)]
        for runs in self._requests.batches(ready):
            if time.monotonic() < self._pool.ready_at(runs):
                self._again += runs
            elif self._has_room_for(runs):
                self._overseer.begin(runs)
        self._roster.look_after()

    def _has_room_for(self, runs: Sequence[Running]) -> bool:
        """Take a slot for runs of one lane; without one after all they go back to their queue."""
        if has_room := self._slots.has_room(runs[0].lane):
            self._slots.take(runs[0].lane)
        for running in () if has_room else runs:
            self._overseer.give_back(running, "its worker has no room for it")
        return has_room

    def _look_for_more(self, leased: Leased) -> None:
        wants_more = self._slots.free > 0 and self.most != 0
        if wants_more and (leased.more or self._requests.is_old):
            self._requests.wake()
        elif self._requests.drains or not wants_more or not self._waits:
            self._doorbell.disarm()
            if self._requests.drains:
                self._requests.wake_within(LOOK_AGAIN)
        else:
            self._wait(leased)
        if leased.opens_in is not None and wants_more:
            self._requests.wake_within(leased.opens_in.total_seconds())

    def _wait(self, leased: Leased) -> None:
        """Until something comes; to a paused queue nobody listens, and it is looked at again."""
        if not self._doorbell.arm(leased.blocked) or leased.blocked:
            self._requests.wake_within(LOOK_AGAIN)
        if self.is_idle:
            self._doorbell.send_ahead(lambda: self._requests.early(self.most))
