"""Following durable jobs: what Redis' stream tells of them is written to their rows, in batches, once and in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import redis
import structlog
from sqlalchemy import Boolean, bindparam, case, update

from jobs.engine import keys, registry
from jobs.engine.broker import translate_errors
from jobs.engine.errors import UnknownJob
from jobs.engine.keys import PREFIX
from jobs.engine.ledger.rows import storable
from jobs.engine.ledger.table import ENDED, FAILED, FINISHED, JOBS, PUSHED, PUSHING, QUEUED, SCHEDULED, STARTED
from jobs.engine.policy import Policy, Retention
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

ENTRIES = 200
SEEN = 60
LONGEST_ID = 128
MOST_ATTEMPTS = 2**31 - 1
STATES = ENDED | {QUEUED, SCHEDULED, STARTED}
UNREADABLE = (ValueError, TypeError, OverflowError, OSError, RecursionError)
row = JOBS.c
log = structlog.get_logger("ledger")

_APPLY = (
    update(JOBS)
    .where(row.id == bindparam("of"), row.epoch.in_(("", bindparam("life"))), row.followed < bindparam("place"))
    .values(
        followed=bindparam("place"),
        epoch=bindparam("life"),
        step=case((row.step == PUSHING, PUSHED), else_=row.step),
        state=bindparam("now_is"),
        attempts=bindparam("tries"),
        worker=bindparam("by"),
        error_type=bindparam("wrong"),
        error=bindparam("because"),
        started_at=bindparam("began"),
        ended_at=bindparam("over"),
        cancel_at=case((bindparam("has_ended", type_=Boolean), None), else_=row.cancel_at),
    )
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the stream says of a job: as it was then, whatever went before; times are UTC."""

    job_id: str
    job_type: str
    place: int
    state: str
    attempts: int
    worker: str
    started_at: datetime | None
    ended_at: datetime | None
    error_type: str
    error: str | None

    def values(self, epoch: str) -> dict[str, Any]:
        """The parameters of the statement that writes it."""
        return {
            "of": self.job_id,
            "life": epoch,
            "place": self.place,
            "now_is": self.state,
            "tries": self.attempts,
            "by": self.worker,
            "wrong": self.error_type,
            "because": self.error,
            "began": self.started_at,
            "over": self.ended_at,
            "has_ended": self.ended_at is not None,
        }


class Follower:
    """Applies the stream of one Redis to the rows. Side by side with others: each row takes only what is newer."""

    def __init__(self, fleet: Fleet, client: redis.Redis) -> None:
        self._fleet, self._client = fleet, client

    def follow(self) -> bool:
        """Apply the oldest entries and have Redis forget them; whether there may be more. Raises BrokerUnavailable."""
        with translate_errors(), self._client.pipeline(transaction=True) as pipe:
            pipe.get(keys.LEDGER_EPOCH)
            pipe.xrange(keys.LEDGER, count=ENTRIES)
            epoch, entries = pipe.execute()
        if not entries or epoch is None:
            return False
        latest = {told.job_id: told for entry_id, fields in entries for told in _read(entry_id, fields)}
        self._apply(list(latest.values()), epoch.decode())
        self._acknowledge(entries[-1][0].decode(), [told for told in latest.values() if told.state in ENDED])
        return len(entries) == ENTRIES

    def _apply(self, told: Sequence[Told], epoch: str) -> None:
        """What has ended is on the disk before Redis may forget it; the rest the audit finds when the machine fails."""
        with self._fleet.database.begin(durable=any(each.state in ENDED for each in told)) as session:
            if told:
                ordered = sorted(told, key=lambda each: each.job_id)  # followers side by side must not wait in a ring
                session.connection().execute(_APPLY, [each.values(epoch) for each in ordered])

    def _acknowledge(self, last: str, ended: Sequence[Told]) -> None:
        milliseconds, _, number = last.partition("-")
        about: list[str | int] = []
        for each in ended:
            kept = self._retention(each.job_type)
            finished = each.state == FINISHED
            age = kept.finished if finished or each.state != FAILED else kept.failed
            count = kept.failed_count if each.state == FAILED else kept.finished_count
            seconds = int(age.total_seconds())
            seconds = seconds if finished or each.state == FAILED else max(SEEN, seconds)
            about += (each.job_id, each.job_type, each.state, seconds, count)
        with translate_errors():
            script("ledger_ack")(self._client, PREFIX, f"{milliseconds}-{int(number) + 1}", *about)

    def _retention(self, job_type: str) -> Retention:
        try:
            return self._fleet.policy(registry.get(job_type)).retention
        except UnknownJob:
            return Policy().retention


def _read(entry_id: bytes, fields: dict[bytes, bytes]) -> list[Told]:
    """The jobs of one entry. What is not of our making is passed over, one job at a time."""
    milliseconds, _, number = entry_id.decode().partition("-")
    place = (int(milliseconds) << 20) + min(int(number), 0xFFFFF)
    try:
        jobs = list(json.loads(fields.get(b"jobs", b"[]")))
    except UNREADABLE:
        jobs = []
    told: list[Told] = []
    for each in jobs:
        try:
            told.append(_told(place, *each))
        except UNREADABLE:
            log.warning("what the stream told of a job can't be read", entry=entry_id.decode())
    return told


def _told(
    place: int, job_id: str, job_type: str, state: str, attempts: Any, worker: str, started: str, ended: str, error: str
) -> Told:
    """What was told of one job. A time that can't be read is left out, but what has ended has done so by now."""
    if state not in STATES or not 0 < len(job_id) <= LONGEST_ID or storable(job_id) != job_id:
        raise ValueError("no row can hold that")
    over = (_moment(ended) or datetime.now(UTC)) if state in ENDED else None
    times, error_about = (_moment(started), over), _error(error)
    return Told(job_id, job_type, place, state, _count(attempts), storable(str(worker)), *times, *error_about)


def _error(text: str) -> tuple[str, str | None]:
    if not text:
        return "", None
    try:
        about = json.loads(text)
        return storable(str(about["type"])), storable(str(about["message"]))
    except (*UNREADABLE, KeyError):
        return "Failed", storable(text)


def _count(attempts: Any) -> int:
    try:
        return max(0, min(int(attempts or 0), MOST_ATTEMPTS))
    except UNREADABLE:
        return 0


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except UNREADABLE:
        pass
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except UNREADABLE:
        return None
