"""A claimed row as the run that children, overseer and log know."""

from __future__ import annotations

from typing import Any

from jobs.engine import views
from jobs.engine.control import policy_of
from jobs.engine.fleet import Fleet
from jobs.engine.local.moments import moment
from jobs.engine.worker import running
from jobs.engine.worker.running import Running

FIELDS = running.FIRST_CALLBACK_TIME


def running_of(row: Any, fleet: Fleet) -> Running:
    """The run of a job that was just claimed."""
    values: list[bytes | None] = [None] * FIELDS
    values[running.DATA] = bytes(row.data)
    told = {
        running.TYPE: row.type,
        running.TENANT: row.tenant,
        running.TIMEOUT: "-1" if row.timeout is None else str(row.timeout),
        running.ATTEMPTS: str(row.attempts),
        running.TOPICS: row.topics,
        running.CORRELATION_ID: row.correlation_id,
        running.DEATHS: str(row.deaths) if row.deaths else None,
        running.CANCEL_REQUESTED: "1" if row.cancel_requested else None,
        running.GATES: row.gates or None,
        running.DEADLINE: views.rfc3339(deadline) if (deadline := moment(row.deadline)) else None,
    }
    for place, text in told.items():
        values[place] = None if text is None else text.encode()
    run = Running(row.id, row.execution, row.queue, row.lane, values)
    run.policy = policy_of(fleet, row.type)
    return run
