"""What clients see of jobs, in SQL: see jobs.engine.events, whose promises these are too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from jobs.engine.database import Database
from jobs.engine.event_format import (
    START,
    Event,
    Position,
    event_data,
    event_name,
    gap,
    position,
    stream_suffix,
)
from jobs.engine.event_replay import Page
from jobs.engine.events import Subscription
from jobs.engine.local import step, tables
from jobs.engine.local.news import News
from jobs.engine.local.subscription import LocalSubscription, as_event


class LocalEvents:
    """The events of the local modes."""

    def __init__(self, database: Database, news: News) -> None:
        self._database, self._news = database, news

    def publish(self, topic: str, name: str, data: Mapping[str, Any], *, tenant: str | None) -> str:
        """See Events.publish."""
        topics, name, text = stream_suffix(tenant, topic), event_name(name), event_data(data)
        with step.step(self._database, durable=False) as taken:
            return taken.emit(topics, name, text)

    def read(self, topic: str, *, tenant: str | None, after: str | None = None, count: int = 100) -> list[Event]:
        """See Events.read."""
        key = step.bounded(stream_suffix(tenant, topic))
        if after == "$" or count < 1:
            return []
        return self.page(key, topic, START if after is None else position(after), count).events[:count]

    def subscribe(
        self, topics: Sequence[str], *, tenant: str | None, after: Mapping[str, str] | None = None
    ) -> Subscription:
        """See Events.subscribe."""
        subscription = LocalSubscription(self, self._news, tenant)
        subscription.start({topic: (after or {}).get(topic) for topic in topics})
        return subscription

    def latest(self) -> Position:
        """The newest position of any topic. Raises BrokerUnavailable."""
        with step.unavailable(), self._database.read() as session:
            row = session.connection().execute(select(tables.clock.c.ms, tables.clock.c.number)).first()
        return (row.ms, row.number) if row else START

    def page(self, key: str, topic: str, after: Position, count: int) -> Page:
        """Up to `count` events after a position; a gap first where some that followed it are not kept."""
        with step.unavailable(), self._database.read() as session:
            connection = session.connection()
            lost = _is_lost(connection, key, after)
            start = START if lost else after
            rows = _rows(connection, key, start, count)
        events = [gap(topic, after)] if lost else []
        events += [event for row in rows if (event := as_event(topic, (row.ms, row.number), row.name, row.data))]
        end = (rows[-1].ms, rows[-1].number) if rows else start
        return Page(events, end, len(rows) == count)


def _rows(connection: Connection, key: str, after: Position, count: int) -> Sequence[Any]:
    table = tables.events
    query = (
        select(table.c.ms, table.c.number, table.c.name, table.c.data)
        .where(table.c.topic == key, step.after(after))
        .order_by(table.c.ms, table.c.number)
        .limit(count)
    )
    return connection.execute(query).all()


def _is_lost(connection: Connection, key: str, after: Position) -> bool:
    """Whether events that followed a position are gone, or it is none that this topic's present events follow."""
    topic = connection.execute(select(tables.topics).where(tables.topics.c.topic == key)).first()
    if topic is None:
        return after > START
    trimmed = (topic.lost_ms, topic.lost_number)
    if trimmed > START:
        if trimmed > after:
            return True
    elif after > START:
        first = _rows(connection, key, START, 1)
        if not first or (first[0].ms, first[0].number) > after:
            return True
    return after > _newest(connection, key)


def _newest(connection: Connection, key: str) -> Position:
    table = tables.events
    query = (
        select(table.c.ms, table.c.number)
        .where(table.c.topic == key)
        .order_by(table.c.ms.desc(), table.c.number.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return (row.ms, row.number) if row else START
