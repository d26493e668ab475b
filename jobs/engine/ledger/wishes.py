"""What somebody wants of durable jobs, on their rows before Redis is told: to end, or to run again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Update, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine.broker import translate_errors
from jobs.engine.columns import Instant
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.keys import PREFIX
from jobs.engine.ledger import rows
from jobs.engine.ledger.patience import patiently
from jobs.engine.ledger.table import CANCELLED, FAILED, JOBS, OPEN, PUSHED, QUARANTINED, QUEUED
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 500
"""Rows a transaction, each by a statement of its own and in the order of their ids: the follower writes them so too,
and two who take rows in different orders may wait for each other."""
AGAIN = (FAILED, CANCELLED, QUARANTINED)
_SOON = "SET LOCAL lock_timeout = '800ms'"
_LONGEST = timedelta(seconds=1)
"""So long a cancel waits for somebody who has the row, and for the database itself: what runs has to be stopped."""
row = JOBS.c
_NOTED = bindparam("now", type_=Instant)
_CANCEL = update(JOBS).where(row.id == bindparam("of"), OPEN, row.cancel_at.is_(None)).values(cancel_at=_NOTED)
_TAKE_BACK = update(JOBS).where(row.id == bindparam("of"), OPEN, row.cancel_at == _NOTED).values(cancel_at=None)
_FORGET_CANCEL = update(JOBS).where(row.id == bindparam("of"), OPEN, row.cancel_at.is_not(None)).values(cancel_at=None)
log = structlog.get_logger("ledger")


def anew(options: str | None, **more: Any) -> dict[str, Any]:
    """What a row holds that runs again: it begins anew, without its deadline, and no cancel of before counts."""
    begun: dict[str, Any] = {"state": QUEUED, "attempts": 0, "worker": "", "error_type": "", "error": None}
    begun |= {"started_at": None, "ended_at": None, "due_at": None, "cancel_at": None, "step_at": datetime.now(UTC)}
    return begun | {"options": rows.without_deadline(options), **more}


def note_cancel(fleet: Fleet, job_ids: Collection[str]) -> datetime:
    """Note that these are cancelled, as far as they have not ended: from then on no wiped Redis gets them again.

    Once a job's end is told the note is gone, whatever that was. Without the database, on PostgreSQL where somebody
    else has a row for long, and where that does not answer for a second, a cancel counts in Redis alone. Returns the
    time that is noted.
    """
    now = datetime.now(UTC)
    _write(fleet, _CANCEL, sorted(job_ids), now, "jobs are cancelled in Redis alone")
    return now


def forget_cancel(fleet: Fleet, job_ids: Collection[str], noted_at: datetime) -> None:
    """Redis refuses to cancel these: the notes of that time go; those of others stay."""
    if job_ids:
        _write(fleet, _TAKE_BACK, sorted(job_ids), noted_at, "the notes of refused cancels stay in their rows")


def open_again(fleet: Fleet, job_ids: Collection[str]) -> set[str]:
    """Let the rows of ended jobs be unfinished, as Redis is about to have them; the ids of those that had ended.

    When Redis is not told after all, an audit finds out that they have ended. Raises BrokerUnavailable while the
    database is away.
    """
    ids, opened = sorted(job_ids), set[str]()
    try:
        for at in range(0, len(ids), AT_ONCE):
            opened |= _open_again(fleet, ids[at : at + AT_ONCE])
    except SQLAlchemyError as error:
        message = "no durable job can be run again: the database, where the ledger is, does not answer"
        raise BrokerUnavailable(message) from error
    return opened


def tell_again(fleet: Fleet, job_ids: Collection[str]) -> None:
    """Redis did not run these again: what it knows of their ends is told to the ledger once more."""
    if job_ids:
        with translate_errors():
            script("ledger_tell")(fleet.redis, PREFIX, *job_ids)


def _write(fleet: Fleet, change: Update, ids: Sequence[str], now: datetime, otherwise: str) -> None:
    """Within a second a transaction; a server that is silent for longer is left to a thread, of which there are few."""

    def write() -> None:
        try:
            for at in range(0, len(ids), AT_ONCE):
                with fleet.database.begin() as session:
                    if not fleet.database.is_sqlite:
                        session.connection().exec_driver_sql(_SOON)
                    session.connection().execute(change, [{"of": each, "now": now} for each in ids[at : at + AT_ONCE]])
        except SQLAlchemyError as error:
            log.warning(f"{otherwise}: the ledger can't be written", error=str(error))

    if fleet.database.is_sqlite:
        write()
    elif not patiently(write, _LONGEST * (1 + len(ids) // AT_ONCE)):
        log.warning(f"{otherwise}: the database does not answer")


def _open_again(fleet: Fleet, job_ids: Sequence[str]) -> set[str]:
    ended = row.state.in_(AGAIN), row.ended_at.is_not(None), row.step == PUSHED
    with fleet.database.begin() as session:
        connection = session.connection()
        connection.execute(_FORGET_CANCEL, [{"of": each} for each in job_ids])
        found = connection.execute(select(row.id, row.options).where(row.id.in_(job_ids), *ended)).all()
        for each in sorted(found, key=lambda each: each.id):
            connection.execute(update(JOBS).where(row.id == each.id, *ended).values(anew(each.options)))
    return {each.id for each in found}
