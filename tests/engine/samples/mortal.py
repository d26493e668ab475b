"""Jobs that die in the ways that dead letters are about."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from jobs.engine import Context, Payload, Permanent, Retention, Retry, Secret, job
from tests.engine.samples.jobs import Told, tell

NEVER = Retry(max_retries=0)
TWICE = Retry(max_retries=2, first=timedelta(0), longest=timedelta(0))


class Order(Payload):
    folder: str
    number: int = 1
    note: str = ""
    api_key: Secret[str] | None = None


@job("mortal.orders", retry=TWICE)
def orders(payload: Order, context: Context) -> int:
    """Fails, in other words each time, until the shop is open; says so on the way."""
    print(f"order {payload.number}, attempt {context.attempt}")
    tell(Told(folder=payload.folder), f"{payload.number}")
    if not Path(payload.folder, "open").exists():
        raise ConnectionError(
            f"shop {payload.number} at /run/shop-{payload.number}.sock is closed since {context.attempt}"
        )
    return payload.number


@job("mortal.once", retry=NEVER, retention=Retention(failed=timedelta(hours=1), failed_count=3), lane="audit")
def once(payload: Order, context: Context) -> None:
    """Fails the first time, without a retry."""
    tell(Told(folder=payload.folder), f"{payload.number}")
    if payload.note == "hopeless":
        raise Permanent("no such shop")
    raise LookupError(f"nothing for {payload.number}")


@job("mortal.leaks", retry=NEVER)
def leaks(payload: Order, context: Context) -> None:
    """Says its secret in an error and on its output."""
    key = payload.api_key.reveal() if payload.api_key else ""
    print("the key is", key, file=sys.stderr)
    raise ValueError(f"refused: token={key} of {key}")


@job("mortal.forgotten", retry=NEVER, retention=Retention(failed=timedelta(0)))
def forgotten(payload: Order, context: Context) -> None:
    """Fails and is not kept."""
    raise LookupError("nobody keeps this")


@job("mortal.unique", retry=NEVER, unique=lambda p: str(p.number))
def unique(payload: Order, context: Context) -> None:
    """Fails, one of its number at a time."""
    once(payload, context)


@job("mortal.tireless", retry=Retry(max_retries=14, first=timedelta(0), longest=timedelta(0)))
def tireless(payload: Order, context: Context) -> None:
    """Fails more often than RQ keeps results."""
    raise ConnectionError(f"attempt {context.attempt}")
