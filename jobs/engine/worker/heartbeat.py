"""The worker's pulse: renews its leases and reaps those of the dead, on a thread and a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.fleet import Fleet
from jobs.engine.worker.leasing import Leases, Renewal

REAP_EVERY = timedelta(seconds=1)
AT_ONCE = 100
"""Runs that one call of the reap script gives back."""
TRY_AGAIN = timedelta(seconds=0.5)
log = structlog.get_logger("worker")
Held = Callable[[], Sequence[tuple[str, str, str]]]


class Heartbeat(threading.Thread):
    """Renews every third of a lease; tells which runs were lost and which are to be cancelled."""

    def __init__(
        self,
        fleet: Fleet,
        worker: str,
        queues: Sequence[str],
        held: Held,
        tell: Callable[[Renewal], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._client = broker.connect(fleet.settings, purpose="heartbeat")
        self._leases = Leases(self._client, worker, queues, fleet)
        self._held, self._tell = held, tell
        self._renew_every = fleet.settings.lease / 3
        self._stopping = threading.Event()
        self._reachable = True
        self.state = "idle"

    def run(self) -> None:
        since_renewal = self._renew_every
        pause = min(REAP_EVERY, self._renew_every)
        while not self._stopping.is_set():
            due = since_renewal >= self._renew_every
            done = self._beat(due)
            since_renewal = timedelta(0) if due and done else since_renewal + pause
            self._stopping.wait(pause.total_seconds())

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
                self._stopping.wait(TRY_AGAIN.total_seconds())

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self.join(5)

    def _beat(self, renew: bool) -> bool:
        try:
            if renew:
                self._tell(self._leases.renew(self.state, self._held()))
            reaped, dead = self._reap()
        except BrokerUnavailable as error:
            if self._reachable:
                log.warning("redis is away", reason=str(error))
            self._reachable = False
            return False
        except Exception:
            log.exception("heartbeat failed")
            return False
        if not self._reachable:
            log.info("redis is back")
        self._reachable = True
        for job_id, word in reaped:
            log.warning("lost run reaped", job_id=job_id, outcome=word)
        for worker in dead:
            log.warning("worker found dead", worker=worker)
        return True

    def _reap(self) -> tuple[list[tuple[str, str]], list[str]]:
        reaped, dead = self._leases.reap()
        last = reaped
        while len(last) >= AT_ONCE:
            last = self._leases.reap()[0]
            reaped += last
        return reaped, dead
