"""Middlewares that tell what they saw, refuse, swallow, change and break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.engine import Context, Permanent
from jobs.engine.middleware import Enqueueing, Job, Middleware
from jobs.settings import InvalidSettings, Settings

told: list[str] = []


class Outer(Middleware):
    """Tells of everything that passes, and where a payload names a folder, writes it there."""

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        name = type(self).__name__
        told.append(f"{name} before {call.job_type.name}")
        call.carried[name] = f"by {name}"
        try:
            jobs = proceed(call)
        except Exception as error:
            told.append(f"{name} saw {type(error).__name__}")
            raise
        told.append(f"{name} after {len(jobs)}")
        return jobs

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        name = type(self).__name__
        _write(payload, f"{name} before {context.carried.get(name)}")
        try:
            result = proceed(payload, context)
        except Exception as error:
            _write(payload, f"{name} saw {type(error).__name__}")
            raise
        _write(payload, f"{name} after")
        return result

    def close(self) -> None:
        told.append(f"{type(self).__name__} closed")


class Inner(Outer):
    """The same, under another name."""


class Refusing(Middleware):
    """Lets nothing pass."""

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        raise Permanent("not today")


class Carrying(Middleware):
    """Carries too much."""

    def around_enqueue(self, proceed: Callable[[Enqueueing], Sequence[Job]], call: Enqueueing) -> Sequence[Job]:
        call.carried["much"] = "x" * 5000
        return proceed(call)


class Replacing(Middleware):
    """Swallows what the job raises, and adds to what it returns."""

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        try:
            return {"wrapped": proceed(payload, context)}
        except ValueError:
            return "swallowed"


class Breaking(Middleware):
    """Raises by itself, once per job."""

    def around_run(self, proceed: Callable[[Any, Context], Any], payload: Any, context: Context) -> Any:
        if context.attempt == 1:
            raise ConnectionError("the middleware's own")
        return proceed(payload, context)


class Picky(Middleware):
    """Wants what it does not get."""

    def __init__(self, settings: Settings) -> None:
        raise InvalidSettings("PICKY: set it")


class Wordy(Middleware):
    """Can't be made from settings."""

    def __init__(self, settings: Settings, more: str) -> None:
        super().__init__(settings)


class NoMiddleware:
    """Something else."""


def _write(payload: Any, line: str) -> None:
    with (Path(payload.folder) / "middleware.told").open("a") as file:
        file.write(f"{line}\n")
