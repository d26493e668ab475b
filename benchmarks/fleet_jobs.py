"""The benchmark's job types: nothing, a short sleep, a wait on a socket; every result is kept."""

from __future__ import annotations

from datetime import timedelta

from benchmarks.peers import bodies
from jobs.engine import Context, Payload, Retention, job

ALL = Retention(finished=timedelta(days=1), finished_count=1_000_000_000)


class Number(Payload):
    """Which job it is."""

    number: int


@job("bench.touch", retention=ALL)
def touch(payload: Number, context: Context) -> int:
    """Note that it ran."""
    return bodies.touch(payload.number)


@job("bench.rest", retention=ALL)
def rest(payload: Number, context: Context) -> int:
    """Sleep 100 ms."""
    return bodies.rest(payload.number)


@job("bench.wait", retention=ALL)
def wait(payload: Number, context: Context) -> int:
    """Sleep on a socket for a second."""
    return bodies.wait(payload.number)


@job("bench.hold", lane="maintenance", retention=ALL)
def hold(payload: Number, context: Context) -> int:
    """Sleep on a socket, in a lane of a single slot."""
    return bodies.wait(payload.number)
