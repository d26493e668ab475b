"""The worker's pulse: renews its leases and reaps those of the dead, on a thread and a connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.fleet import Fleet
from jobs.engine.worker import lease_clock
from jobs.engine.worker.leasing import Leases, Renewal
from jobs.engine.worker.roster import Roster
from jobs.engine.worker.trouble import Trouble

REAP_EVERY = timedelta(seconds=1)
AT_ONCE = 100
"""Runs that one call of the reap script gives back."""
TRY_AGAIN = timedelta(seconds=0.5)
log = structlog.get_logger("worker")


class Heartbeat(threading.Thread):
    """Renews every third of a lease; tells which runs were lost and which are to be cancelled."""

    def __init__(
        self,
        fleet: Fleet,
        worker: str,
        queues: Sequence[str],
        roster: Roster,
        tell: Callable[[Renewal], None],
        mend: Callable[[bool], Sequence[str]],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._client = broker.connect(fleet.settings, purpose="heartbeat")
        self._leases = Leases(self._client, worker, queues, fleet)
        self._roster, self._tell = roster, tell
        self._renew_every = fleet.settings.lease / 3
        self._stopping, self._waking = threading.Event(), threading.Event()
        roster.on_batch = self._waking.set
        self._reachable = True
        self._trouble, self._recording = Trouble("the heartbeat", mend), Trouble("recording", mend)
        self.state = "idle"

    def run(self) -> None:
        since_renewal = self._renew_every
        pause = min(REAP_EVERY, self._renew_every)
        while not self._stopping.is_set():
            due = since_renewal >= self._renew_every
            done = self._beat(due)
            since_renewal = timedelta(0) if due and done else since_renewal + pause
            self._rest(time.monotonic() + pause.total_seconds())

    def begin(self, stopping: Callable[[], bool]) -> None:
        """Show this worker alive before its first lease, as soon as Redis lets it; `stopping` ends the waiting."""
        while not stopping():
            try:
                self._leases.renew(self.state, [])
                return
            except BrokerUnavailable as error:
                if self._reachable:
                    log.warning("redis is away", reason=str(error))
                self._reachable = False
            except Exception as error:
                self._trouble.met(error)
            self._stopping.wait(TRY_AGAIN.total_seconds())

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._waking.set()
        self.join(5)

    def _rest(self, until: float) -> None:
        """Until the next beat (monotonic seconds), look after batches that take long."""
        while not self._stopping.is_set() and (now := time.monotonic()) < until:
            record_at = self._roster.record_at
            if record_at is not None and record_at <= now:
                self._record()
            else:
                self._waking.wait(min(until, record_at or until) - now)
                self._waking.clear()

    def _record(self) -> None:
        """A run that could not be recorded is at the next renewal, which tells what is wrong."""
        lasting = self._roster.lasting()
        try:
            if lasting:
                self._leases.record(lasting)
        except BrokerUnavailable:
            pass
        except Exception as error:
            self._recording.met(error)
        else:
            self._recording.over()

    def _beat(self, renew: bool) -> bool:
        try:
            if renew:
                self._tell(self._renew())
            reaped, dead = self._reap()
        except BrokerUnavailable as error:
            if self._reachable:
                log.warning("redis is away", reason=str(error))
            self._reachable = False
            return False
        except Exception as error:
            self._trouble.met(error)
            return False
        self._trouble.over()
        if not self._reachable:
            log.info("redis is back")
        self._reachable = True
        for job_id, word in reaped:
            log.warning("lost run reaped", job_id=job_id, outcome=word)
        for worker in dead:
            log.warning("worker found dead", worker=worker)
        return True

    def _renew(self) -> Renewal:
        held, asked_at = self._roster.held(), lease_clock.now()
        renewal = self._leases.renew(self.state, held)
        self._roster.renewed(held, asked_at, renewal.lost)
        return renewal

    def _reap(self) -> tuple[list[tuple[str, str]], list[str]]:
        reaped, dead = self._leases.reap()
        last = reaped
        while len(last) >= AT_ONCE:
            last = self._leases.reap()[0]
            reaped += last
        return reaped, dead
