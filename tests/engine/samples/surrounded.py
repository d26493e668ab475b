"""Jobs for middlewares to surround."""

from __future__ import annotations

from jobs.engine import Context, Payload, job


class Folder(Payload):
    """Where middlewares tell what they saw."""

    folder: str


class Nothing(Payload):
    """No arguments."""


@job("surrounded.quiet")
def quiet(payload: Folder, context: Context) -> None:
    """Does nothing."""


@job("surrounded.fails")
def fails(payload: Nothing, context: Context) -> None:
    """Always fails."""
    raise ValueError("as always")


@job("surrounded.clock")
def clock(payload: Nothing, context: Context) -> dict[str, float]:
    """How long it has taken and may still take, in seconds."""
    left = context.remaining
    return {"elapsed": context.elapsed.total_seconds(), "left": -1 if left is None else left.total_seconds()}


@job("surrounded.endless", timeout=None)
def endless(payload: Nothing, context: Context) -> bool:
    """Whether there is no end to its time."""
    return context.remaining is None
