"""What any worker does for all: what has expired in RQ's registries, and what its clients left half done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from jobs.engine import broker, letter_bounds, letter_finding
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.fleet import Fleet
from jobs.engine.statistics import Tally, sample
from jobs.engine.worker import upkeep
from jobs.engine.worker.leasing import Leases
from jobs.engine.worker.self_report import SelfReport
from jobs.engine.worker.trouble import Trouble

EVERY = timedelta(seconds=10)
FLUSH_EVERY = timedelta(seconds=2)
ANSWER_WITHIN = timedelta(seconds=10)


class Housekeeping(threading.Thread):
    """Now and then, apart from everything that must be on time."""

    def __init__(
        self,
        fleet: Fleet,
        worker: str,
        queues: Sequence[str],
        tally: Tally,
        report: SelfReport,
        mend: Callable[[bool], Sequence[str]],
    ) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._client = broker.connect(fleet.settings, purpose="housekeeping", socket_timeout=ANSWER_WITHIN)
        self._leases = Leases(self._client, worker, queues, fleet)
        self._report = report
        self._queues, self._tally, self._settings = list(queues), tally, fleet.settings
        self._sampled = sorted(set(queues) | set(fleet.settings.queue_weights))
        self._trouble = Trouble("housekeeping", mend)
        self._stopping = threading.Event()

    def run(self) -> None:
        turns = 0
        self._try(self._tell)
        while not self._stopping.wait(FLUSH_EVERY.total_seconds()):
            self._trouble.over()
            turns = (turns + 1) % (EVERY // FLUSH_EVERY)
            self._try(self._count)
            self._try(self._tell)
            if turns == 0:
                self._try(self._tidy_up)

    def stop(self) -> None:
        """End the thread soon; what was counted is told before."""
        self._stopping.set()
        self.join(ANSWER_WITHIN.total_seconds())
        self._try(partial(self._tally.flush, self._client))
        self._try(partial(self._report.end, self._client))

    def _count(self) -> None:
        self._tally.flush(self._client)
        sample(self._client, self._sampled)

    def _tell(self) -> None:
        self._report.write(self._client)

    def _tidy_up(self) -> None:
        self._trouble.look()
        self._leases.maintain()
        self._leases.sweep()
        self._leases.sweep_workflows()
        self._leases.sweep_deferred()
        letter_finding.find(self._client, self._settings, every=EVERY / 2)
        letter_bounds.keep_within(self._client, self._settings)
        upkeep.run(self._client, self._queues)

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BrokerUnavailable:
            return
        except Exception as error:
            self._trouble.met(error)
