"""Durable jobs that tell in files that they ran, wait, fail, or are unique."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from jobs.engine import Context, Payload, Permanent, Retention, Retry, job

SOON = Retry(max_retries=2, first=timedelta(0), longest=timedelta(0))


class Told(Payload):
    """A folder to write to, under which name, and a file to wait for."""

    folder: str
    name: str = "job"
    wait_for: str = ""


class Owned(Payload):
    tenant_id: str = ""
    document_id: str = ""


@job("durable.tell", durable=True, retry=SOON)
def tell(payload: Told, context: Context) -> str:
    """Append this job's id to a file that everybody appends to."""
    _tell(payload, context.job_id)
    while payload.wait_for and not Path(payload.folder, payload.wait_for).exists():
        context.check()
        time.sleep(0.01)
    return payload.name


@job("durable.book", durable=True, retry=SOON)
def book(payload: Told, context: Context) -> list[str]:
    """Two steps that are done once, in our database and beside the job; then it waits."""
    from jobs.engine import current_fleet
    from jobs.engine.idempotency.in_sql import once

    def tell_of(name: str) -> str:
        _tell(Told(folder=payload.folder, name=name), context.execution_id)
        return context.execution_id

    with current_fleet().database.begin() as session:
        written = once(session, context, "book", lambda: tell_of("sql"))
    called = context.once("call").run(lambda: tell_of("call"), in_doubt=lambda: "asked")
    tell(payload, context)
    return [written, called]


@job("durable.brief", durable=True, retry=SOON, retention=Retention(finished=timedelta(0)))
def brief(payload: Told, context: Context) -> None:
    """The same, and Redis is to forget it at once."""
    tell(payload, context)


@job("durable.only_one", durable=True, unique=lambda p: p.name, retry=SOON)
def only_one(payload: Told, context: Context) -> None:
    """One of a name at a time."""
    tell(payload, context)


@job("durable.fail", durable=True, retry=SOON)
def fail(payload: Told, context: Context) -> None:
    """Fail at every attempt."""
    _tell(payload, context.job_id)
    raise ValueError(f"the disk of {payload.name} is full")


@job("durable.refuse", durable=True)
def refuse(payload: Owned, context: Context) -> None:
    """Fail for good."""
    raise Permanent(f"document {payload.document_id} is encrypted")


@job("durable.nothing", durable=True, retention=Retention(finished=timedelta(0)), searchable=("document_id",))
def nothing(payload: Owned, context: Context) -> None:
    """Do nothing, and be dropped from Redis at once."""


@job("durable.plain")
def plain(payload: Told, context: Context) -> None:
    """Not durable at all."""


def _tell(payload: Told, line: str) -> None:
    descriptor = os.open(Path(payload.folder, f"{payload.name}.told"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)
