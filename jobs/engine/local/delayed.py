"""The delayed jobs of the local modes: see jobs.engine.delayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import and_, func, or_, select

from jobs.engine.delayed import EVERYTHING, Delayed, DelayedPage, DelayedWhere, of_view
from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.local.showing import view_of
from jobs.engine.places import Place, cursor_of, place_of

if TYPE_CHECKING:
    from jobs.engine.local.fleet import LocalFleet

row = tables.jobs.c


class LocalDelayed(Delayed):
    """See jobs.engine.delayed.Delayed."""

    def __init__(self, fleet: LocalFleet) -> None:
        super().__init__(fleet)
        self._local = fleet

    def find(
        self,
        where: DelayedWhere = EVERYTHING,
        *,
        limit: int = 50,
        cursor: str | None = None,
        tenant: str | None = None,
    ) -> DelayedPage:
        """See Delayed.find; a page is full unless it is the last."""
        query = select(tables.jobs).where(row.status == "scheduled")
        for name, value in where.within(tenant).model_dump(exclude_none=True).items():
            query = query.where(row[name] == value)
        if (place := place_of(cursor)).id:
            time = float(place.time)
            query = query.where(or_(row.due > time, and_(row.due == time, row.id > place.id)))
        with steps.unavailable(), self._local.database.read() as session:
            rows = session.connection().execute(query.order_by(row.due, row.id).limit(limit + 1)).all()
        views = [view_of(each) for each in rows[:limit]]
        items = [of_view(view, view.scheduled_for) for view in views if view.scheduled_for is not None]
        last = rows[limit - 1] if len(rows) > limit else None
        return DelayedPage(items=items, next_cursor=last and cursor_of(Place(repr(last.due), last.id)))

    def counts(self) -> dict[str, int]:
        """See Delayed.counts."""
        query = select(row.queue, func.count().label("number")).where(row.status == "scheduled").group_by(row.queue)
        with steps.unavailable(), self._local.database.read() as session:
            return {each.queue: each.number for each in session.connection().execute(query)}
