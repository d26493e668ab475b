"""Lines of the audit log that wait in Redis for the database to come back, signed, for others write there too."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from jobs.engine import keys
from jobs.engine.audit_log import records
from jobs.engine.audit_log.lines import AuditLine
from jobs.engine.audit_log.records import Record
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST = 10_000
"""So many lines wait at most; of what is older, the log of the process that wrote it alone tells."""
MOST_REFUSED = 1_000
"""So many of those that anybody can cause who tries to sign in: in a list of their own, so that they push out none."""
MOST_WITH_JOBS = 30
"""So many of them with the ids of their jobs, of which each may have 10,000."""
AT_ONCE = 100
SIGNED, LONGEST_SHOWN = "a line of the audit log: ", 500
log = structlog.get_logger("audit")


def keep(fleet: Fleet, record: Record) -> None:
    """Put the line aside. Never raises: where nothing takes it, the log says so."""
    line = record.line
    try:
        if not fleet.has_broker:
            raise BrokerUnavailable("there is no Redis")
        alone = record.model_copy(update={"jobs": ()})
        with translate_errors(), fleet.redis.pipeline() as pipe:
            key, most = (keys.AUDIT_REFUSED_LATER, MOST_REFUSED) if record.is_counted else (keys.AUDIT_LATER, MOST)
            pipe.rpush(key, _sealed(fleet, alone.model_dump_json()))
            pipe.ltrim(key, -most, -1)
            if record.jobs:
                pipe.rpush(keys.AUDIT_JOBS_LATER, _sealed(fleet, record.model_dump_json()))
                pipe.ltrim(keys.AUDIT_JOBS_LATER, -MOST_WITH_JOBS, -1)
            pipe.execute()
    except BrokerUnavailable as error:
        log.error("a line of the audit log is here alone", line=line.model_dump(mode="json"), reason=str(error))


def store(fleet: Fleet) -> int:
    """Move what waits into the database, each line once however many do this; how many were read.

    What this fleet has not signed is thrown away. Raises BrokerUnavailable, SQLAlchemyError.
    """
    moved = _store(fleet, keys.AUDIT_LATER, AT_ONCE) + _store(fleet, keys.AUDIT_JOBS_LATER, 1)
    return moved + _store(fleet, keys.AUDIT_REFUSED_LATER, AT_ONCE)


def _store(fleet: Fleet, key: str, at_once: int) -> int:
    moved = 0
    while True:
        with translate_errors():
            waiting: Any = fleet.redis.lrange(key, 0, at_once - 1)
        if not waiting:
            return moved
        _write(fleet, [record for raw in waiting if (record := _read(fleet, raw)) is not None])
        with translate_errors(), fleet.redis.pipeline() as pipe:
            for raw in waiting:
                pipe.lrem(key, 1, raw)
            pipe.execute()
        moved += len(waiting)


def _write(fleet: Fleet, kept: list[Record]) -> None:
    with fleet.database.begin() as session:
        for record in kept:
            records.write(session, record, is_sqlite=fleet.database.is_sqlite)


def _sealed(fleet: Fleet, text: str) -> str:
    return f"{fleet.keys.digests(SIGNED + text)[0]} {text}"


def _read(fleet: Fleet, raw: bytes) -> Record | None:
    seal, _, text = raw.decode(errors="replace").partition(" ")
    if seal in fleet.keys.digests(SIGNED + text):
        with suppress(ValidationError):  # what the release before this one left
            return Record.model_validate_json(text)
        return Record(line=AuditLine.model_validate_json(text))
    log.warning("a waiting line of the audit log is not of this fleet", line=text[:LONGEST_SHOWN])
    return None
