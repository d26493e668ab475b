"""What a run prints in the worker's log too: operators look for it there first."""

from __future__ import annotations

from typing import Protocol

import structlog

from jobs.engine import logs
from jobs.engine.lines import Stream
from jobs.engine.output import Echo


class About(Protocol):
    """Which run it is, for the worker's log."""

    @property
    def job_id(self) -> str: ...
    @property
    def job_type(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def attempt(self) -> int: ...


def echo_of(run: About | None) -> Echo:
    """What writes a run's lines to the worker's log."""
    names = ("job_id", "job_type", "tenant", "attempt")
    about = {name: getattr(run, name) for name in names} if run is not None else {}

    def echo(stream: Stream, text: str) -> None:
        structlog.get_logger("job.output").info(text, stream=stream, **about, **logs.OWN)

    return echo
