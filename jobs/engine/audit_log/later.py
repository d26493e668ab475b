"""Lines of the audit log that wait in Redis for the database to come back, signed, for others write there too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy.dialects import postgresql, sqlite

from jobs.engine import keys
from jobs.engine.audit_log.lines import AuditLine, values_of
from jobs.engine.audit_log.table import LINES
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST = 10_000
"""So many lines wait at most; of what is older, the log of the process that wrote it alone tells."""
AT_ONCE = 100
SIGNED, LONGEST_SHOWN = "a line of the audit log: ", 500
log = structlog.get_logger("audit")


def keep(fleet: Fleet, line: AuditLine) -> None:
    """Put the line aside. Never raises: where nothing takes it, the log says so."""
    try:
        if not fleet.has_broker:
            raise BrokerUnavailable("there is no Redis")
        with translate_errors(), fleet.redis.pipeline() as pipe:
            pipe.rpush(keys.AUDIT_LATER, _sealed(fleet, line.model_dump_json()))
            pipe.ltrim(keys.AUDIT_LATER, -MOST, -1)
            pipe.execute()
    except BrokerUnavailable as error:
        log.error("a line of the audit log is here alone", line=line.model_dump(mode="json"), reason=str(error))


def store(fleet: Fleet) -> int:
    """Move what waits into the database, each line once however many do this; how many were read.

    What this fleet has not signed is thrown away. Raises BrokerUnavailable, SQLAlchemyError.
    """
    moved = 0
    while True:
        with translate_errors():
            waiting: Any = fleet.redis.lrange(keys.AUDIT_LATER, 0, AT_ONCE - 1)
        if not waiting:
            return moved
        _write(fleet, [line for raw in waiting if (line := _read(fleet, raw)) is not None])
        with translate_errors(), fleet.redis.pipeline() as pipe:
            for raw in waiting:
                pipe.lrem(keys.AUDIT_LATER, 1, raw)
            pipe.execute()
        moved += len(waiting)


def _write(fleet: Fleet, lines: list[AuditLine]) -> None:
    dialect = sqlite if fleet.database.is_sqlite else postgresql
    with fleet.database.begin() as session:
        for line in lines:
            session.execute(dialect.insert(LINES).values(values_of(line)).on_conflict_do_nothing(index_elements=["id"]))


def _sealed(fleet: Fleet, text: str) -> str:
    return f"{fleet.keys.digests(SIGNED + text)[0]} {text}"


def _read(fleet: Fleet, raw: bytes) -> AuditLine | None:
    seal, _, text = raw.decode(errors="replace").partition(" ")
    if seal in fleet.keys.digests(SIGNED + text):
        return AuditLine.model_validate_json(text)
    log.warning("a waiting line of the audit log is not of this fleet", line=text[:LONGEST_SHOWN])
    return None
