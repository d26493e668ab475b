"""Progress and output of running jobs on their way to Redis."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.output import MOST_LINES
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

OUTPUT_KEPT = timedelta(days=7)
LARGEST = 64 * 1024


@dataclass(frozen=True)
class Report:
    """One `progress` or `output` report; an empty execution id is not checked against a lease.

    The value of an output report is {"lines": JSON objects as text, one a line}.
    """

    kind: str
    job_id: str
    execution_id: str
    job_type: str
    attempt: int
    value: dict[str, Any]

    def text(self) -> str:
        """What the script gets."""
        return str(self.value["lines"]) if self.kind == "output" else json.dumps(self.value, separators=(",", ":"))


def is_one(kind: str, value: Any) -> bool:
    """Whether a value that a child sent can be a report's."""
    lines = value.get("lines", "") if isinstance(value, dict) else None
    if not isinstance(lines, str) or not lines.isascii() or len(lines) > LARGEST:
        return False
    return ("lines" in value) == (kind == "output")


def write(client: redis.Redis, reports: Iterable[Report]) -> None:
    """Store reports in one call. Raises BrokerUnavailable."""
    arguments: list[str | int] = []
    for each in reports:
        arguments += [each.kind, each.job_id, each.execution_id, each.job_type, each.attempt, each.text()]
    with translate_errors():
        script("report")(client, keys.PREFIX, int(OUTPUT_KEPT.total_seconds()), MOST_LINES, *arguments)


class RedisReporter:
    """Reports straight to Redis, for runs outside a FleetWorker."""

    def __init__(self, fleet: Fleet, job_id: str, job_type: str, attempt: int) -> None:
        self._fleet, self._job_id, self._job_type, self._attempt = fleet, job_id, job_type, attempt

    def report(self, kind: str, value: dict[str, Any]) -> None:
        """Write at once; an unreachable Redis loses the report, not the job."""
        try:
            write(self._fleet.redis, [Report(kind, self._job_id, "", self._job_type, self._attempt, value)])
        except BrokerUnavailable:
            return

    def stopping(self) -> bool:
        """RQ's workers wait for their jobs."""
        return False

    def cancelled(self) -> bool:
        """Whether the job's hash asks for it."""
        try:
            with translate_errors():
                return bool(self._fleet.redis.hexists(keys.job(self._job_id), "cancel_requested"))
        except BrokerUnavailable:
            return False
