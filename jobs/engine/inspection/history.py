"""Walks through the ledger's rows, newest first: durable jobs, and without Redis all jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine import registry, searching
from jobs.engine.inspection.places import END, Place
from jobs.engine.inspection.walks import Found, Look, Walk
from jobs.engine.inspection.where import ANY_STATE, State, Where
from jobs.engine.ledger.rows import STATES, view_of
from jobs.engine.ledger.search import says
from jobs.engine.ledger.table import JOBS, QUEUED, VALUES
from jobs.engine.local.step import unavailable
from jobs.engine.masking import shown_payload
from jobs.engine.views import JobView, rfc3339

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.job_types import JobType

WINDOW = 20_000
"""Rows that one look passes where no index says which of them are meant."""
row = JOBS.c
log = structlog.get_logger("inspection")


def walks(fleet: Fleet, where: Where, states: Sequence[State]) -> list[Walk]:
    """The walks that together pass every row that is meant, each row once; none where there is no ledger."""
    if fleet.has_broker and not registry.any_durable():
        return []
    if where.field is None:
        return [HistoryWalk(fleet, where, "ledger", list(_conditions(fleet, where, states)))]
    return list(_by_value(fleet, where, states, where.field, where.value or ""))


def answers(fleet: Fleet) -> bool:
    """Whether the ledger can be read now."""
    try:
        with fleet.database.read() as session:
            session.execute(select(row.number).limit(1)).all()
    except SQLAlchemyError as error:
        log.warning("the ledger can't be searched", error=str(error))
        return False
    return True


class HistoryWalk:
    """Through rows of which conditions hold; with `reads` their payloads are looked at, without they need not be."""

    def __init__(
        self,
        fleet: Fleet,
        where: Where,
        name: str,
        conditions: Sequence[ColumnElement[bool]],
        *,
        reads: bool = False,
        indexed: bool = False,
        window: int = WINDOW,
    ) -> None:
        self.name, self._window = name, window
        self._fleet, self._where, self._conditions, self._reads = fleet, where, conditions, reads
        self._is_narrow = not indexed and _needs_a_window(where)

    def look(self, place: Place, most: int, look_at: int) -> Look:
        """See Walk.look. Raises BrokerUnavailable while the database is away."""
        with unavailable(), self._fleet.database.read() as session:
            begin = int(place.mark) if place.mark else session.execute(select(func.max(row.number))).scalar() or 0
            lowest = begin - self._window if self._is_narrow else 0
            several = look_at if self._reads else most
            query = select(*_columns(self._reads)).where(*self._conditions, row.number <= begin, row.number > lowest)
            rows = session.execute(query.order_by(row.number.desc()).limit(several + 1)).mappings().all()
        part = rows[:several]
        found = [_found(each) for each in part if not self._reads or self._has_value(each)]
        if len(found) > most:
            part = part[: part.index(next(each for each in part if each["id"] == found[most].id))]
            return Look(found[:most], len(part), found[most].place)
        if len(rows) > several:
            return Look(found, len(part), Place(str(rows[several]["number"])))
        return Look(found, max(len(part), begin - max(lowest, 0)), Place(str(lowest)) if lowest > 0 else END)

    def _has_value(self, each: RowMapping) -> bool:
        return self._where.has_value(shown_payload(each["data"]))


def _needs_a_window(where: Where) -> bool:
    """Whether what is asked could pass many rows in vain: only tenant or type has an index with the rows' order."""
    given = where.model_dump(exclude_none=True, exclude={"field", "value"})
    return not set(given) <= {"tenant"} and not set(given) <= {"type"}


def _columns(reads: bool) -> list[Any]:
    return [column for column in JOBS.c if column.name != "more" and (reads or column.name != "data")]


def _conditions(fleet: Fleet, where: Where, states: Sequence[State]) -> Iterator[ColumnElement[bool]]:
    if where.tenant is not None:
        yield row.tenant == where.tenant
    if where.type is not None:
        yield row.type == where.type
    if where.queue is not None:
        yield row.queue == where.queue
    if where.lane is not None:
        yield row.type.in_([each.name for each in registry.all_types() if fleet.policy(each).lane == where.lane])
    if set(states) < set(ANY_STATE):
        yield row.state.in_({word for state in states for word in STATES[state] or (QUEUED,)})
    if where.since is not None:
        yield row.created_at >= where.since
    if where.until is not None:
        yield row.created_at < where.until
    for words in (where.error, where.text):
        if words is not None:
            yield row.error.is_not(None)
            yield says(words)


def _by_value(fleet: Fleet, where: Where, states: Sequence[State], field: str, value: str) -> Iterator[Walk]:
    """Types that declare the field are found by their values, those that only have it by their payloads."""
    conditions = list(_conditions(fleet, where, states))
    known = [each for each in registry.all_types() if each.durable or not fleet.has_broker]
    declaring = [each.name for each in known if field in each.searchable]
    having = [each.name for each in known if each.name not in declaring and _has(each, field)]
    if declaring:
        valued = select(VALUES.c.job_id).where(VALUES.c.field == field, VALUES.c.value == searching.as_text(value))
        yield HistoryWalk(
            fleet, where, "ledger", [*conditions, row.type.in_(declaring), row.id.in_(valued)], indexed=True
        )
    if having:
        yield HistoryWalk(fleet, where, "ledger payloads", [*conditions, row.type.in_(having)], reads=True)


def _has(job_type: JobType[Any], field: str) -> bool:
    return field.partition(".")[0] in job_type.payload_type.model_fields


def _found(each: RowMapping) -> Found:
    view = view_of(each)
    return Found(each["id"], Place(str(each["number"])), latest=latest_of(view), view=view)


def latest_of(view: JobView) -> str:
    """The latest of a job's times, as its hash writes it; a delayed job's is when it was made."""
    moment = view.ended_at or view.started_at or view.enqueued_at or view.created_at
    return rfc3339(moment) if moment else ""
