"""Jobs that a test kit runs; not of the samples, whose workers need no database: one of these is durable."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Context, Limit, Payload, Permanent, Queue, Retry, Secret, job
from jobs.engine.testing import Crash

did: list[str] = []


class Word(Payload):
    """What to do, by a word."""

    text: str = "word"
    key: Secret[str] | None = None


@job("kitted.counts", retry=Retry(max_retries=2, first=timedelta(minutes=10), strategy="fixed"), durable=True)
def counts(payload: Word, context: Context) -> int:
    """Fails, crashes, enqueues another or counts letters."""
    did.append(f"{payload.text} {context.attempt}")
    if payload.text == "fails":
        raise ConnectionError("as told")
    if payload.text == "refuses":
        raise Permanent("never")
    if payload.text == "recovers" and context.attempt < 3:
        raise ConnectionError("not yet")
    if payload.text == "crashes once" and len(did) == 1:
        raise Crash
    if payload.text.startswith("next "):
        counts.enqueue(Word(text=payload.text.removeprefix("next ")))
    context.progress("counting", 50)
    context.log.info("counted", letters=len(payload.text))
    return len(payload.text)


@job("kitted.endless")
def endless(payload: Word, context: Context) -> None:
    """Enqueues itself."""
    endless.enqueue(payload)


@job("kitted.urgent", queue=Queue.CRITICAL, unique=lambda p: p.text)
def urgent(payload: Word, context: Context) -> str:
    """Goes first, and once for each text."""
    did.append(f"urgent {payload.text}")
    return payload.key.reveal() if payload.key else ""


@job("kitted.chats", lane="chat", limit=Limit(1))
def chats(payload: Word, context: Context) -> None:
    """In a lane that may have a rate window."""
    did.append(f"chats {payload.text}")


@job("kitted.saves", timeout=None)
def saves(payload: Word, context: Context) -> list[int]:
    """Counts to three and remembers; mails once."""
    done: list[int] = context.resume() or []
    context.once("mail").run(lambda: did.append("mailed"))
    for number in range(len(done), 3):
        done.append(number)
        did.append(f"saved {number}")
        context.checkpoint(done)
    return done


@job("kitted.ticks", every=timedelta(hours=1))
def ticks(payload: Word, context: Context) -> None:
    """Once an hour."""
    did.append("tick")
