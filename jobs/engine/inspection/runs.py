"""A job's timeline: each of its runs with when it was queued, leased, begun and ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import computed_field

from jobs.engine.dead_letters.attempts import Attempt, of_results
from jobs.engine.event_format import Event
from jobs.engine.views import JobView, LogLine

SLACK = timedelta(seconds=2)
"""Clocks of workers may differ by so much from that of Redis."""


class Run(Attempt):
    """One run; `queued_at` and `leased_at` are known for an hour, and of the last run for as long as the job is kept.

    Times of the run itself are its worker's, the others those of Redis.
    """

    queued_at: datetime | None = None
    leased_at: datetime | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        if self.began_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.began_at).total_seconds())


class Start(NamedTuple):
    """What the events tell of one start."""

    number: int
    queued_at: datetime | None
    leased_at: datetime


def of_job(
    view: JobView,
    execution: str,
    results: Sequence[tuple[bytes, Mapping[bytes, bytes]]],
    lines: Sequence[LogLine],
    events: Sequence[Event],
) -> list[Run]:
    """The runs of a job, oldest first; the last one may be under way."""
    runs = [Run(**attempt.model_dump()) for attempt in of_results(results, lines)]
    if view.status == "started":
        runs.append(_under_way(view, execution, lines))
    starts = starts_of(events)
    for run in reversed(runs):
        _tell_start(run, starts)
    if runs and runs[-1].execution == execution:
        _tell_last(runs[-1], view)
    return runs


def of_row(view: JobView, traceback: str = "") -> list[Run]:
    """The last run, as far as a row tells of it."""
    if view.started_at is None:
        return []
    outcome = "running" if view.status == "started" else str(view.status)
    times = {"queued_at": view.enqueued_at, "leased_at": view.started_at, "began_at": view.started_at}
    return [
        Run(
            number=view.attempts,
            outcome=outcome,
            worker=view.worker or "",
            execution="",
            ended_at=view.ended_at,
            error=view.error,
            traceback=traceback,
            **times,
        )
    ]


def starts_of(events: Sequence[Event]) -> list[Start]:
    """The starts that a job's events tell of, oldest first."""
    starts: list[Start] = []
    queued_at: datetime | None = None
    for event in events:
        if event.name in ("job:queued", "job:retrying"):
            queued_at = event.at
        elif event.name == "job:started":
            number: Any = event.data.get("attempt")
            starts.append(Start(number if isinstance(number, int) else 0, queued_at, event.at))
            queued_at = None
    return starts


def _under_way(view: JobView, execution: str, lines: Sequence[LogLine]) -> Run:
    run = Run(number=view.attempts, outcome="running", worker=view.worker or "", execution=execution)
    own = [line for line in lines if line.attempt == view.attempts]
    run.leased_at, run.began_at = view.started_at, own[0].at if own else view.started_at
    return run


def _tell_start(run: Run, starts: list[Start]) -> None:
    """Find its start, the latest that no later run had; what completed says no number of its own."""
    while starts:
        start = starts.pop()
        if run.began_at is None or start.leased_at <= run.began_at + SLACK:
            run.queued_at, run.leased_at = start.queued_at, start.leased_at
            run.number = start.number if run.outcome == "completed" and start.number else run.number
            return


def _tell_last(run: Run, view: JobView) -> None:
    run.number = view.attempts or run.number
    run.queued_at, run.leased_at = run.queued_at or view.enqueued_at, run.leased_at or view.started_at
