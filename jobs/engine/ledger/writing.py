"""Writing rows in a transaction, but for jobs that are there already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from jobs.engine.control import in_redis
from jobs.engine.errors import BrokerUnavailable, IdempotencyConflict
from jobs.engine.ledger.rows import row_of, unique_key, view_of
from jobs.engine.ledger.table import JOBS, LOCAL, OPEN, PENDING, VALUES
from jobs.engine.new_jobs import NewJob
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AT_ONCE = 500
row = JOBS.c
_INSERT = insert(JOBS)


class Writer:
    """Writes the jobs of one call."""

    def __init__(self, fleet: Fleet, connection: Connection, *, asks_redis: bool) -> None:
        self._fleet, self._connection, self._asks_redis = fleet, connection, asks_redis

    def write(self, new: Sequence[NewJob], step: str) -> dict[int, JobView]:
        """Write a row for each job; the views, by place, of those that were there already and got none.

        Raises IdempotencyConflict.
        """
        known = self._same_ids(new) if any(each.chosen for each in new) else {}
        known |= self._same_keys([(at, each) for at, each in enumerate(new) if at not in known])
        fresh = [(at, each) for at, each in enumerate(new) if at not in known]
        known |= self._insert(fresh, step)
        values = [
            {"job_id": each.id, "field": field, "value": value}
            for at, each in fresh
            if each.found_by and at not in known
            for field, value in each.found_by
        ]
        if values:
            self._connection.execute(insert(VALUES), values)
        return known

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
        stored = {each["id"]: each["data"] for each in self._rows(row.id, [each.id for _, each in fresh])}
        others = [(at, each) for at, each in fresh if stored.get(each.id) != each.data]
        return self._views_of(others)

    def _same_ids(self, new: Sequence[NewJob]) -> dict[int, JobView]:
        return self._views_of([(at, each) for at, each in enumerate(new) if each.chosen])

    def _views_of(self, wanted: Sequence[tuple[int, NewJob]]) -> dict[int, JobView]:
        found = {each["id"]: each for each in self._rows(row.id, [each.id for _, each in wanted])}
        known = {at: found[each.id] for at, each in wanted if each.id in found}
        for at, stored in known.items():
            _check(next(each for place, each in wanted if place == at), stored)
        views = self._looked_at(known.values())
        return {at: views[stored["id"]] for at, stored in known.items()}

    def _same_keys(self, wanted: Sequence[tuple[int, NewJob]]) -> dict[int, JobView]:
        """What is absorbed by an unfinished job of the same unique key: one of the ledger, or of this very call.

        Where it is in doubt whether that has ended, the new one is written: it waits for the lock before it is pushed.
        """
        keys = {at: key for at, each in wanted if (key := unique_key(each)) is not None}
        if not keys:
            return {}
        rows = self._rows(row.unique_key, sorted(set(keys.values())), OPEN)
        views = self._looked_at(rows)
        holders = {each["unique_key"]: views[each["id"]] for each in rows if self._is_live(each, views[each["id"]])}
        known = {}
        for at, each in wanted:
            if (key := keys.get(at)) is None:
                continue
            if key in holders:
                known[at] = holders[key]
            else:
                holders[key] = each.view.model_copy(update={"queued": "ledger"})
        return known

    def _is_live(self, stored: RowMapping, view: JobView) -> bool:
        return not view.ended if self._asks_redis else stored["step"] in (PENDING, LOCAL)

    def _looked_at(self, rows: Iterable[RowMapping]) -> dict[str, JobView]:
        """The views of rows: Redis knows more of those that are there, if it can be asked."""
        views = {each["id"]: view_of(each) for each in rows}
        pushed = [each["id"] for each in rows if each["step"] not in (PENDING, LOCAL)]
        if not (pushed and self._asks_redis):
            return views
        try:
            found = in_redis(self._fleet.redis, pushed)
        except BrokerUnavailable:
            self._asks_redis = False
            return views
        return views | {each.id: each for each in found if each is not None}

    def _rows(self, column: Any, values: Sequence[str], *conditions: Any) -> list[RowMapping]:
        found: list[RowMapping] = []
        for at in range(0, len(values), AT_ONCE):
            query = select(JOBS).where(column.in_(values[at : at + AT_ONCE]), *conditions)
            found += self._connection.execute(query).mappings()
        return found


def _check(new: NewJob, stored: RowMapping) -> None:
    if stored["tenant"] != new.head.view.tenant:
        raise IdempotencyConflict("this job id is taken")
    digest = json.loads(stored["more"] or b"{}").get("digest")
    if new.digests and digest is not None and digest not in new.digests:
        raise IdempotencyConflict("this idempotency key was used before with another payload")


def _insert_unknown(dialect: str) -> Any:
    """An INSERT that passes over rows that another transaction has written just now."""
    kind = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return kind(JOBS).on_conflict_do_nothing(index_elements=["id"])
