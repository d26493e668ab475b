"""Jobs whose traces are looked at: one fails first, and enqueues another."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Payload, Retry, Secret, job

SOON = Retry(max_retries=2, first=timedelta(0), longest=timedelta(0))


class Traced(Payload):
    """Words that must be in no trace."""

    text: str = ""
    key: Secret[str] | None = None


@job("traced.parent", retry=SOON)
def parent(payload: Traced, context: Context) -> str:
    """Fails once, then hands on."""
    if context.attempt == 1:
        raise ValueError(payload.text)
    print(payload.text)
    child.enqueue(payload)
    return payload.text


@job("traced.child")
def child(payload: Traced, context: Context) -> None:
    """Does nothing."""
