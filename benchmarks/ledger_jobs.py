"""The same job that does nothing, durable and not."""

from __future__ import annotations

from jobs.engine import Context, Payload, job


class Number(Payload):
    """Which job it is."""

    number: int


@job("bench.plain")
def plain(payload: Number, context: Context) -> int:
    """Nothing, known to Redis alone."""
    return payload.number


@job("bench.durable", durable=True)
def durable(payload: Number, context: Context) -> int:
    """Nothing, with a row in the ledger."""
    return payload.number
