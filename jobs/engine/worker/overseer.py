"""Ends what must end: runs over their time, cancelled, without a lease any more, or outliving a shutdown's grace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import structlog

from jobs.engine import foreign
from jobs.engine.errors import Cancelled, CircuitOpen, Expired, Killed, TimedOut
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.worker.batch import Heard
from jobs.engine.worker.leasing import Renewal
from jobs.engine.worker.parking import Parking
from jobs.engine.worker.pool import ChildPool
from jobs.engine.worker.running import Running

KILL_AFTER_ASKING = timedelta(seconds=2)
DIES_WITHIN = 2.0
"""Seconds in which a killed process should be dead: until it is, or they are over, its run's end is not written."""
EVERYTHING = "*"
How = Literal["cancel", "stop", "kill"]
STOPPED = Outcome("stopped", None, "Stopped", "the job was stopped", "Job stopped by user, work-horse terminated.")
"""The end of a plain RQ job that was stopped by RQ's command, in RQ's words."""
DIED = "its process died while running it"
log = structlog.get_logger("worker")


class Wish(NamedTuple):
    """Somebody wants a run to end, in so many seconds at most."""

    grace: float
    how: How


class Settles(Protocol):
    """Who writes how runs ended."""

    def add(self, running: Running, outcome: Outcome) -> None:
        """A run has ended."""


class Overseer:
    """Knows why a child is killed, and so what its run's outcome is."""

    def __init__(self, pool: ChildPool, settler: Settles, cancel_grace: timedelta) -> None:
        self._pool, self._settler, self._cancel_grace = pool, settler, cancel_grace
        self._lock = threading.Lock()
        self._lost: set[str] = set()
        self._asked: dict[str, Wish] = {}
        self._parking = Parking()
        self._timed: list[Running] = []
        """Runs that had a time to be killed at when they were looked at last, and those that got one since."""

    def renewed(self, renewal: Renewal) -> None:
        """What the heartbeat found: runs that are this worker's no more, runs to cancel; from any thread."""
        with self._lock:
            self._lost |= renewal.lost
        for execution in renewal.cancelled:
            self.cancel(execution, self._cancel_grace)

    def command(self, command: Mapping[str, Any]) -> None:
        """What a command says of runs; from any thread. Commands about anything else are not for here."""
        match command.get("command"):
            case "cancel-job":
                self.cancel(str(command.get("job_id")), self._cancel_grace)
            case "stop-job":
                self.cancel(str(command.get("job_id")), timedelta(0), "stop")
            case "stop-execution":
                self.cancel(str(command.get("execution_id")), timedelta(0), "stop")
            case "kill-horse":
                self.cancel(EVERYTHING, timedelta(0), "kill")

    def cancel(self, job_or_execution_id: str, grace: timedelta, how: How = "cancel") -> None:
        """Somebody wants this run to stop, by itself within the grace; from any thread.

        RQ's own commands stop a plain RQ job for good, or kill it, which is a failure like any other.
        """
        with self._lock:
            wish = Wish(grace.total_seconds(), how)
            self._asked[job_or_execution_id] = min(wish, self._asked.get(job_or_execution_id, wish))

    def may_begin(self, running: Running, now: datetime) -> bool:
        """Whether a run that was just leased should begin; otherwise its end is settled."""
        if running.cancel_requested:
            error: Exception = Cancelled("the job was cancelled")
        elif running.is_past_deadline(now):
            error = Expired("the job had not begun by its deadline")
        else:
            return True
        running.has_ended = True
        self._settler.add(running, of_error(error, None, 1))
        return False

    def give_back(self, running: Running, reason: str) -> None:
        """A run that did not begin goes back to the front of its queue, uncharged."""
        running.has_ended = True
        self._settler.add(running, STOPPED if running.is_stopped else Outcome("released", message=reason))

    def begin(self, runs: Sequence[Running]) -> None:
        """Hand runs of one lane to a child; one by itself may take its time from now on."""
        self._pool.run(runs)
        if len(runs) == 1:
            self.watch(runs[0])

    def watch(self, running: Running) -> None:
        """A run is handed to a child: it may take its timeout, and a moment to heed it."""
        timeout = running.time_for_callback if running.is_stopped else running.timeout
        if timeout is not None:
            begun_at = time.monotonic() if running.begun_at is None else running.begun_at
            more = timedelta(0) if running.is_stopped else running.time_for_callbacks
            running.kill_at = begun_at + (timeout + more + KILL_AFTER_ASKING).total_seconds()
            self._timed.append(running)

    def next_at(self, runs: Callable[[], Iterable[Running]], stop_at: float | None) -> list[float]:
        """When (monotonic seconds) the next one of all `runs` has to be looked at."""
        self._timed = [each for each in self._timed if each.kill_at is not None and not each.has_ended]
        times = [each.kill_at for each in self._timed if each.kill_at is not None]
        if stop_at is not None and not all(each.has_ended or each.verdict is not None for each in runs()):
            times.append(stop_at)
        return times

    def enforce(self, runs: Callable[[], Iterable[Running]], stop_at: float | None) -> None:
        """Pass on cancellations to `runs`; kill what is due and settle it."""
        now = time.monotonic()
        with self._lock:
            lost, self._lost = self._lost, set()
            asked, self._asked = self._asked, {}
        is_for_all = lost or asked or (stop_at is not None and now >= stop_at)
        for running in list(runs() if is_for_all else self._timed):
            if running.has_ended or not (is_for_all or running.kill_at is not None):
                continue
            if running.verdict is not None:
                if running.kill_at is not None and now >= running.kill_at:
                    self._bury(running, running.verdict)
            elif running.execution_id in lost:
                log.warning("lease lost: stopping the run", job_id=running.job_id)
                self._end(running, Outcome("lost", error_type="LeaseLost", message="its lease was lost"))
            elif stop_at is not None and now >= stop_at:
                self._end(running, Outcome("released", message="its worker is shutting down"))
            else:
                wanted = (running.execution_id, running.job_id, EVERYTHING)
                self._enforce(running, min((asked[each] for each in wanted if each in asked), default=None), now)

    def checked(self, running: Running, outcome: Outcome, stop_at: float | None) -> Outcome:
        """What counts of what a child says: that a run goes on later, uncharged, only for a stop or an open breaker.

        A stopped run's second child has only called the job's callback.
        """
        if running.is_stopped:
            return STOPPED
        if outcome.kind == "released" and stop_at is None and not self._is_parked(running, outcome):
            return Outcome("lost", error_type="WorkerLost", message="it was given up although its worker goes on")
        return outcome

    def _is_parked(self, running: Running, outcome: Outcome) -> bool:
        is_for_breaker = outcome.error_type == CircuitOpen.__name__ and running.policy is not None
        return is_for_breaker and self._parking.allows(running.job_id)

    def is_dying(self, heard: Heard) -> bool:
        """Whether a run's process was killed: what it had written counts, and with its end the run's is settled."""
        verdict = heard.running.verdict
        if verdict is None or heard.kind == "output":
            return False
        if heard.kind in ("ended", "died", "given back", "passed over"):
            self._bury(heard.running, verdict)
        return True

    def outcome_of_death(self, running: Running) -> Outcome:
        """A child ended by itself: a run that had begun is charged with it, others were only in its way."""
        if running.is_stopped or running.cancelling:
            return _verdict(running)
        if not running.has_begun:
            return Outcome("released", message="its process died before it began")
        return Outcome("lost", error_type="WorkerLost", message=DIED)

    def _enforce(self, running: Running, wish: Wish | None, now: float) -> None:
        if wish is not None and not running.is_stopped:
            kill_at = now + wish.grace
            running.kill_at = min(kill_at, running.kill_at) if running.cancelling and running.kill_at else kill_at
            self._timed.append(running)
            if not running.cancelling:
                running.cancelling = wish.how
                self._pool.cancel(running)
        if running.kill_at is not None and now >= running.kill_at:
            outcome = _verdict(running)
            if outcome is STOPPED and running.time_for_callback and not running.is_stopped:
                self._stop(running)
            else:
                self._end(running, outcome)

    def _stop(self, running: Running) -> None:
        """Kill the run's child; the run is passed over then, and begun again in another to call RQ's callback."""
        running.is_stopped, running.kill_at = True, None
        self._pool.kill(running)

    def _end(self, running: Running, outcome: Outcome) -> None:
        """Kill the run's child and wait for its last words, of which Redis is told before it is of the end."""
        if self._pool.kill(running):
            running.verdict, running.kill_at = outcome, time.monotonic() + DIES_WITHIN
            self._timed.append(running)
        else:
            self._bury(running, outcome)

    def _bury(self, running: Running, outcome: Outcome) -> None:
        running.has_ended = True
        self._settler.add(running, outcome)


def _verdict(running: Running) -> Outcome:
    if running.is_stopped or (running.cancelling == "stop" and running.policy is None):
        return STOPPED
    if running.cancelling and running.cancelling != "kill":
        return of_error(Cancelled("the job was cancelled and killed"), None, 1)
    error: Exception = TimedOut(f"the job ran longer than {running.timeout} and was killed")
    if running.cancelling:
        error = Killed("the job was killed by an operator's command")
    if running.policy is None:
        return of_error(error, foreign.retry_of(*running.rq_retry), 1)
    return of_error(error, running.policy.retry, running.attempt)
