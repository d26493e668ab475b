"""Runs of durable types become rows of the ledger beside the scheduler's own work: a slow database delays no others."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from jobs.engine import schedule_rows
from jobs.engine.errors import IdempotencyConflict
from jobs.engine.scheduler import plans
from jobs.engine.scheduler.plans import Plan

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

PATIENCE = timedelta(seconds=0.3)
log = structlog.get_logger(__name__)


class NotYet(Exception):
    """The rows are not committed yet: the entry stays due and is looked at again."""


class Rows:
    """The plans that are being written, one an entry at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._writing: dict[str, Writing] = {}

    def __len__(self) -> int:
        return len(self._writing)

    def written(self, plan: Plan) -> Plan:
        """The plan whose runs are rows now: this one, or the one that was begun before. Raises NotYet."""
        writing = self._writing.get(plan.entry.id)
        if writing is None or writing.plan.score != plan.score:
            writing = self._writing[plan.entry.id] = Writing(self._fleet, plan)
            writing.start()
        others_hang = len(self._writing) > 1
        writing.join(0 if others_hang else PATIENCE.total_seconds())
        if writing.is_alive():
            raise NotYet
        del self._writing[plan.entry.id]
        if not writing.done:
            raise NotYet
        return writing.plan


class Writing(threading.Thread):
    """One transaction. A run whose id is there already, from a try that was killed after its commit, is passed over."""

    def __init__(self, fleet: Fleet, plan: Plan) -> None:
        super().__init__(name=f"rows of {plan.entry.id}", daemon=True)
        self.plan, self.done = plan, False
        self._fleet = fleet

    def run(self) -> None:
        """Write the rows and push what they say; where Redis is away the relay does that later.

        A scheduler that was killed after its commit could not say what it made: that is looked for first.
        """
        plan, job_type = self.plan, self.plan.entry.job_type.name
        try:
            if plan.runs or plan.missed:
                made = schedule_rows.made_since(self._fleet, plan.entry.id, plan.since, plan.at)
                is_alone = plan.overlap == "skip"
                others = schedule_rows.under_way(self._fleet, plan.entry.id, job_type) if is_alone else []
                plans.compare(plan, made, others)
            if plan.runs:
                self._fleet.ledger.accept(plan.runs)
            self.done = True
        except IdempotencyConflict as error:
            log.error("periodic run refused", entry=self.plan.entry.id, error=str(error))
            self.done = True
        except Exception as error:
            log.warning("periodic runs wait for the ledger", entry=self.plan.entry.id, error=str(error))
