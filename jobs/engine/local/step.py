"""A step: one write transaction of the local modes, alone in all processes, with its events and one clock."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import OperationalError, TimeoutError

from jobs.engine.database import Database
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.event_format import Position, written
from jobs.engine.local import tables

LOCK = 0x72715F6C6F63616C
"""PostgreSQL's advisory lock that makes steps wait for one another ("rq_local"); SQLite has one writer anyway."""
LONGEST_NAME = 300
KEPT = 3600.0
"""Seconds that the events of a topic are kept after its last one, starts not counted."""
SEEN = 60.0
"""Seconds that the events of a job are kept that is itself kept no longer."""
MOST, SLACK = 1000, 100
_listeners: WeakSet[Any] = WeakSet()
_moved: dict[str, timedelta] = {}


def on_change(listener: Any) -> None:
    """Have `listener.changed()` called after each step of this process, from the thread that took it; held weakly."""
    _listeners.add(listener)


class unavailable:
    """Around reads and steps: BrokerUnavailable while the database does not answer."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OperationalError | TimeoutError):
            raise BrokerUnavailable("the database can't be reached or did not answer in time") from error


@contextmanager
def step(database: Database, *, durable: bool = True) -> Iterator[Step]:
    """Write; what was changed is told to this process's listeners afterwards. Raises BrokerUnavailable."""
    with unavailable(), database.begin(durable=durable) as session:
        taken = begin(session.connection())
        yield taken
        if taken.rests:
            return
        taken.end()
    tell()


def begin(connection: Connection) -> Step:
    """A step within a transaction of the caller's, who calls `end` on it before committing, and `tell` after that."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    return Step(connection)


def tell() -> None:
    """Say that something was committed."""
    for listener in list(_listeners):
        listener.changed()


def bounded(name: str) -> str:
    """A name that fits into its column; what is longer is known by its fingerprint."""
    return name if len(name) <= LONGEST_NAME else f"#{hashlib.sha256(name.encode()).hexdigest()}"


class Step:
    """What happens at one moment: `now` is epoch seconds by the database's clock."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.now = clock(connection)
        row = connection.execute(select(tables.clock)).first()
        if row is None:
            connection.execute(insert(tables.clock).values(id=1, ms=0, number=0, place=0))
        self._ms: int = row.ms if row else 0
        self._number: int = row.number if row else 0
        self._place: int = row.place if row else 0
        if (milliseconds := int(self.now * 1000)) > self._ms:
            self._ms, self._number = milliseconds, -1
        self._events: list[dict[str, Any]] = []
        self._begun = self._ms, self._number, self._place
        self._has_written = False
        self.rests = False
        """Whether nobody is to be told of it, since it has written nothing."""
        self.brief: set[str] = set()
        """Topics whose events are to go a minute from now."""

    @property
    def has_written(self) -> bool:
        """Whether a row was changed through this, or an event, a position or a place given."""
        return self._has_written or (self._ms, self._number, self._place) != self._begun

    @property
    def moment(self) -> datetime:
        """Now, as an aware datetime."""
        return datetime.fromtimestamp(self.now, UTC)

    def stamp(self) -> Position:
        """A position that follows all given before, in every process: the id of an event or a line."""
        self._number += 1
        return self._ms, self._number

    def next_place(self) -> int:
        """The end of every queue."""
        self._place += 1
        return self._place

    def emit(self, topics: str, name: str, data: str) -> str:
        """Tell an event (its data as JSON) on comma-separated topics; the last one's id."""
        at = (0, 0)
        for topic in filter(None, topics.split(",")):
            at = self.stamp()
            about = {"ms": at[0], "number": at[1], "topic": bounded(topic), "name": name, "data": data}
            self._events.append(about)
        return written(at)

    def job_event(self, row: Any, name: str, **extra: Any) -> None:
        """An event of a job, given as its row, on all of the job's topics."""
        data = {"job_id": row.id, "type": row.type, "attempt": row.attempts, **extra}
        self.emit(row.topics, name, json.dumps(data, separators=(",", ":")))

    def execute(self, statement: Any, *more: Any) -> Any:
        """Run a statement in this transaction."""
        result = self.connection.execute(statement, *more)
        self._has_written = self._has_written or not (statement.is_select or result.rowcount == 0)
        return result

    def end(self) -> None:
        """Write the events and the clock: the last thing before the commit."""
        if self._events:
            self.execute(insert(tables.events), self._events)
            counts = Counter(each["topic"] for each in self._events)
            lasting = {each["topic"] for each in self._events if each["name"] != "job:started"}
            for topic, count in counts.items():
                self._count(topic, count, topic in lasting)
        if self.brief:
            table, soon = tables.topics, self.now + SEEN
            brief = table.c.topic.in_(self.brief), table.c.expires > soon
            self.execute(update(table).where(*brief).values(expires=soon))
        ms, number = self.stamp()
        self.execute(update(tables.clock).values(ms=ms, number=number, place=self._place))

    def _count(self, topic: str, count: int, lasting: bool) -> None:
        table = tables.topics
        row = self.execute(select(table).where(table.c.topic == topic)).first()
        expires = self.now + KEPT
        if row is None:
            self.execute(insert(table).values(topic=topic, kept=count, lost_ms=0, lost_number=0, expires=expires))
        else:
            values = {"kept": row.kept + count, **({"expires": max(expires, row.expires)} if lasting else {})}
            self.execute(update(table).where(table.c.topic == topic).values(**values))
        if (kept := count + (row.kept if row else 0)) > MOST + SLACK:
            self._trim(topic, kept - MOST)

    def _trim(self, topic: str, count: int) -> None:
        events, table = tables.events.c, tables.topics
        last = self.execute(
            select(events.ms, events.number)
            .where(events.topic == topic)
            .order_by(events.ms, events.number)
            .offset(count - 1)
            .limit(1)
        ).one()
        self.execute(delete(tables.events).where(events.topic == topic, ~after(last)))
        self.execute(
            update(table)
            .where(table.c.topic == topic)
            .values(kept=table.c.kept - count, lost_ms=last.ms, lost_number=last.number)
        )


def after(position: Any) -> Any:
    """The condition on an event that follows a position."""
    ms, number = position
    return (tables.events.c.ms > ms) | ((tables.events.c.ms == ms) & (tables.events.c.number > number))


def clock(connection: Connection) -> float:
    """The server's time in epoch seconds; SQLite has none but that of the one host on which all its processes are.

    Tests may have moved this process's clock.
    """
    moved = ahead(connection.engine).total_seconds() if _moved else 0.0
    if connection.dialect.name == "postgresql":
        seconds: float = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
        return float(seconds) + moved
    return datetime.now(UTC).timestamp() + moved


def ahead(engine: Engine) -> timedelta:
    """How far this process's clock of a database was moved."""
    return _moved.get(str(engine.url), timedelta(0))


def move_clock(engine: Engine, by: timedelta) -> None:
    """Move this process's clock of a database: for tests."""
    _moved[str(engine.url)] = ahead(engine) + by


def forget_clock(engine: Engine) -> None:
    """Let the clock go right again."""
    _moved.pop(str(engine.url), None)
