"""Writing rows in a transaction, but for jobs that are there already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, insert, select

from jobs.engine.columns import insert_of
from jobs.engine.control import in_redis
from jobs.engine.errors import IdempotencyConflict
from jobs.engine.ledger import turns
from jobs.engine.ledger.rows import row_of, unique_key, view_of
from jobs.engine.ledger.table import DOUBTED, JOBS, LOCAL, OPEN, PENDING, VALUES
from jobs.engine.new_jobs import NewJob
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 500
row = JOBS.c
_INSERT = insert(JOBS)


Asked = Mapping[str, JobView | None]
"""What Redis said of jobs, by id, before a transaction began."""


def ask_first(fleet: Fleet, new: Sequence[NewJob]) -> Asked:
    """What Redis knows of jobs that may be the same as new ones: no transaction is open while it is asked.

    Raises BrokerUnavailable.
    """
    ids = [each.id for each in new if each.chosen]
    uniques = sorted({key for each in new if (key := unique_key(each)) is not None})
    if not (ids or uniques):
        return {}
    with fleet.database.read() as session:
        connection = session.connection()
        rows = [*_rows(connection, row.id, ids), *_rows(connection, row.unique_key, uniques, OPEN)]
    pushed = sorted({each["id"] for each in rows if each["step"] not in (PENDING, LOCAL)})
    return dict(zip(pushed, in_redis(fleet.redis, pushed), strict=True)) if pushed else {}


class Writer:
    """Writes the jobs of one call.

    `doubted` are the places of those that were absorbed by a job of which it is not known whether it has ended: they
    got rows all the same, which are settled after the commit.
    """

    def __init__(self, fleet: Fleet, connection: Connection, asked: Asked, *, redis_is_away: bool) -> None:
        self._connection, self._asked, self._redis_is_away = connection, asked, redis_is_away
        self._seen_ended = fleet.jobs.seen_ended
        self.doubted: list[int] = []

    def write(self, new: Sequence[NewJob], step: str) -> dict[int, JobView]:
        """Write a row for each job; the views, by place, of those that were there already and got none.

        Raises IdempotencyConflict.
        """
        known = self._same_ids(new) if any(each.chosen for each in new) else {}
        known |= self._same_keys([(at, each) for at, each in enumerate(new) if at not in known])
        fresh = [(at, each) for at, each in enumerate(new) if at not in known]
        known |= self._insert(fresh, step)
        doubted = [(at, new[at]) for at in self.doubted]
        self._insert(doubted, DOUBTED)
        self._write_values(each for at, each in fresh if at not in known)
        self._write_values(each for _, each in doubted)
        return known

    def _write_values(self, written: Iterable[NewJob]) -> None:
        values = [
            {"job_id": each.id, "field": field, "value": value}
            for each in written
            if each.found_by
            for field, value in each.found_by
        ]
        if values:
            self._connection.execute(insert(VALUES), values)

    def _insert(self, fresh: Sequence[tuple[int, NewJob]], step: str) -> dict[int, JobView]:
        now = datetime.now(UTC)
        rows = [row_of(each, step, now) for _, each in fresh]
        if not any(each.chosen for _, each in fresh):
            if rows:
                self._connection.execute(_INSERT, rows)
            return {}
        done = self._connection.execute(
            _insert_unknown(self._connection.dialect.name), rows, execution_options={"preserve_rowcount": True}
        )
        if done.rowcount == len(rows):
            return {}
        written = _rows(self._connection, row.id, [each.id for _, each in fresh])
        stored = {each["id"]: each["data"] for each in written}
        others = [(at, each) for at, each in fresh if stored.get(each.id) != each.data]
        return self._views_of(others)

    def _same_ids(self, new: Sequence[NewJob]) -> dict[int, JobView]:
        return self._views_of([(at, each) for at, each in enumerate(new) if each.chosen])

    def _views_of(self, wanted: Sequence[tuple[int, NewJob]]) -> dict[int, JobView]:
        found = {each["id"]: each for each in _rows(self._connection, row.id, [each.id for _, each in wanted])}
        known = {at: found[each.id] for at, each in wanted if each.id in found}
        for at, stored in known.items():
            _check(next(each for place, each in wanted if place == at), stored)
        views = self._looked_at(known.values())
        return {at: views[stored["id"]] for at, stored in known.items()}

    def _same_keys(self, wanted: Sequence[tuple[int, NewJob]]) -> dict[int, JobView]:
        """What is absorbed by an unfinished job of the same unique key: one of the ledger, or of this very call.

        The row is believed until the commit, unless Redis was asked and knew better, now or lately. While Redis is away
        it is in doubt whether a job that was pushed has ended: then the new one is written, and waits for the lock
        before its push.
        """
        keys = {at: key for at, each in wanted if (key := unique_key(each)) is not None}
        if not keys:
            return {}
        uniques = sorted(set(keys.values()))
        turns.take(self._connection, uniques)
        rows = _rows(self._connection, row.unique_key, uniques, OPEN, row.step != DOUBTED)
        views, live = self._looked_at(rows), [each for each in rows if self._is_live(each)]
        holders = {each["unique_key"]: views[each["id"]] for each in live}
        certain = {each["unique_key"] for each in live if each["step"] in (PENDING, LOCAL) or each["id"] in self._asked}
        known = {}
        for at, each in wanted:
            if (key := keys.get(at)) is None:
                continue
            if key in holders:
                known[at] = holders[key]
                self.doubted += [] if key in certain else [at]
            else:
                certain.add(key)
                holders[key] = each.view.model_copy(update={"queued": "ledger"})
        return known

    def _is_live(self, stored: RowMapping) -> bool:
        if (view := self._asked.get(stored["id"])) is not None:
            return not view.ended
        if stored["step"] in (PENDING, LOCAL):
            return True
        return not (self._redis_is_away or stored["id"] in self._seen_ended)

    def _looked_at(self, rows: Iterable[RowMapping]) -> dict[str, JobView]:
        """The views of rows; where Redis was asked, it knows more of those that are there."""
        return {each["id"]: self._asked.get(each["id"]) or view_of(each) for each in rows}


def _rows(connection: Connection, column: Any, values: Sequence[str], *conditions: Any) -> list[RowMapping]:
    found: list[RowMapping] = []
    for at in range(0, len(values), AT_ONCE):
        query = select(JOBS).where(column.in_(values[at : at + AT_ONCE]), *conditions)
        found += connection.execute(query).mappings()
    return found


def _check(new: NewJob, stored: RowMapping) -> None:
    if stored["tenant"] != new.head.view.tenant:
        raise IdempotencyConflict("this job id is taken")
    digest = json.loads(stored["more"] or b"{}").get("digest")
    if new.digests and digest is not None and digest not in new.digests:
        raise IdempotencyConflict("this idempotency key was used before with another payload")


def _insert_unknown(dialect: str) -> Any:
    """An INSERT that passes over rows that another transaction has written just now."""
    return insert_of(dialect, JOBS).on_conflict_do_nothing(index_elements=["id"])
