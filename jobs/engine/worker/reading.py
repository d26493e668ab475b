"""What the lease script tells of runs, read: most are a text that names a head, the others a list of hash fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jobs.engine import registry
from jobs.engine.errors import UnknownJob
from jobs.engine.fleet import Fleet
from jobs.engine.policy import Policy
from jobs.engine.worker import running
from jobs.engine.worker.running import FIRST_CALLBACK_TIME, NOTHING_MORE, TOLD_FIRST, TOLD_OF_ALL, Brief, Running

PLACE = 4
ENQUEUED = len("2026-01-01T00:00:00.000000Z")
END = b"\n"


class Told:
    """The runs of one answer, read when they are looked at; results of plain RQ jobs are kept for `kept`."""

    __slots__ = ("_fleet", "_heads", "_kept", "_known", "_request", "jobs")

    def __init__(
        self,
        jobs: Sequence[Any],
        request: bytes,
        heads: Sequence[Sequence[bytes | None]],
        fleet: Fleet,
        kept: timedelta,
    ) -> None:
        """`jobs` and `heads` are as lease.lua and lua/lib_fields.lua say."""
        self.jobs, self._request, self._heads, self._fleet, self._kept = jobs, request.decode(), heads, fleet, kept
        self._known: dict[bytes, tuple[Brief, str, str]] = {}

    def runs(self) -> list[Running]:
        """Every run."""
        return [
            self._of_text(job) if isinstance(job, bytes) else of_fields(job, self._fleet, self._kept)
            for job in self.jobs
        ]

    def _of_text(self, text: bytes) -> Running:
        end = text.index(END)
        at = text.index(END, text.index(END, end + 1) + 1) + 1 + ENQUEUED
        alike = text[end:at]
        brief, queue, lane = self._known.get(alike) or self._brief(alike)
        execution_id = self._request + text[:PLACE].decode()
        return Running(text[PLACE:end].decode(), execution_id, queue, lane, brief.values, brief, text[at:])

    def _brief(self, alike: bytes) -> tuple[Brief, str, str]:
        """What all runs have in common that differ in nothing but id, place and data."""
        _, number, correlation_id, enqueued_at = alike.split(END, 3)
        job_type, tenant, timeout, queue, lane = self._heads[int(number)]
        values: list[bytes | None] = [None] * FIRST_CALLBACK_TIME
        values[running.TYPE], values[running.TENANT], values[running.TIMEOUT] = job_type, tenant, timeout
        values[running.CORRELATION_ID], values[running.ENQUEUED_AT] = correlation_id, enqueued_at
        brief = Brief(values, _policy(job_type, self._fleet), self._request, _text(queue))
        known = self._known[alike] = (brief, _text(queue), _text(lane))
        return known


def of_fields(reply: list[Any], fleet: Fleet, kept: timedelta) -> Running:
    """A run from the fields of a job's hash, in the order of lua/lib_fields.lua."""
    job_id, execution_id, queue, lane, in_batch = reply[TOLD_OF_ALL:TOLD_FIRST]
    values = reply[:TOLD_OF_ALL] + (reply[TOLD_FIRST:] or NOTHING_MORE)
    run = Running(job_id.decode(), execution_id.decode(), _text(queue), _text(lane), values)
    run.policy, run.kept, run.in_batch = _policy(values[running.TYPE], fleet), kept, bool(in_batch)
    return run


def _policy(job_type: bytes | None, fleet: Fleet) -> Policy | None:
    try:
        return fleet.policy(registry.get(_text(job_type))) if job_type else None
    except UnknownJob:
        return None


def _text(field: bytes | None) -> str:
    return field.decode("utf-8", "replace") if field else ""
