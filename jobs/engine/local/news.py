"""News: one thread of a process looks whether anything was written and hands new events to those who follow them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol
from weakref import WeakKeyDictionary, ref

import structlog
from sqlalchemy import select

from jobs.engine.database import Database
from jobs.engine.errors import FleetError
from jobs.engine.event_format import Position
from jobs.engine.local import step, tables

LOOK_EVERY = timedelta(milliseconds=100)
"""What other processes write is seen so much later at most; what this one writes is seen at once."""
TRY_AGAIN = timedelta(seconds=0.5)
PAGE = 1000
log = structlog.get_logger("local")


class Follower(Protocol):
    """Who hears of new events."""

    def hear(self, topic: str, at: Position, name: str, data: str) -> None:
        """One of a topic that it follows, as it is stored; from the thread of the news."""


class News:
    """The news of one database for one process; its thread lives while somebody follows."""

    def __init__(self, database: Database) -> None:
        self._find = ref(database)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._followers: dict[str, set[Follower]] = {}
        self._wakers: set[Callable[[], None]] = set()
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: Position | None = None
        step.on_change(self)

    def follow(self, topic: str, follower: Follower) -> None:
        """Hand new events of a topic to `follower`; those written before this returns may be among them."""
        with self._lock:
            self._followers.setdefault(topic, set()).add(follower)
        try:
            self._ready()
        except BaseException:
            self.leave(topic, follower)
            raise

    def leave(self, topic: str, follower: Follower) -> None:
        """No longer."""
        with self._lock:
            found = self._followers.get(topic, set())
            found.discard(follower)
            if not found:
                self._followers.pop(topic, None)

    def wake(self, waker: Callable[[], None]) -> None:
        """Have something called whenever anything was written, by whichever process."""
        with self._lock:
            self._wakers.add(waker)
        self._ready()

    def forget(self, waker: Callable[[], None]) -> None:
        """No longer."""
        with self._lock:
            self._wakers.discard(waker)

    def changed(self) -> None:
        """This process has written something."""
        self._bell.set()

    def _ready(self) -> None:
        """Have the thread, and know from where on it looks. Raises BrokerUnavailable."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._seen = self._latest()
            self._thread = threading.Thread(target=self._run, name="local-news", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        reachable = True
        while self._wanted():
            self._bell.wait((LOOK_EVERY if reachable else TRY_AGAIN).total_seconds())
            self._bell.clear()
            try:
                self._look()
                reachable = True
            except Exception as error:
                if reachable:
                    log.warning("the database does not answer", error=str(error))
                reachable = False

    def _wanted(self) -> bool:
        with self._lock:
            if self._followers or self._wakers:
                return True
            self._thread = None
            return False

    def _look(self) -> None:
        seen = self._seen or (0, 0)
        latest = self._latest()
        if latest == seen:
            return
        while self._followers:
            page = self._page(seen, latest)
            for ms, number, topic, name, data in page:
                seen = ms, number
                with self._lock:
                    found = list(self._followers.get(topic, ()))
                for follower in found:
                    follower.hear(topic, seen, name, data)
            if len(page) < PAGE:
                break
        self._seen = latest
        for waker in list(self._wakers):
            waker()

    def _latest(self) -> Position:
        with step.unavailable(), self._open().read() as session:
            row = session.connection().execute(select(tables.clock.c.ms, tables.clock.c.number)).first()
        return (row.ms, row.number) if row else (0, 0)

    def _open(self) -> Database:
        database = self._find()
        if database is None:
            raise FleetError("the database was closed")
        return database

    def _page(self, seen: Position, latest: Position) -> list[tuple[int, int, str, str, str]]:
        table = tables.events
        query = (
            select(table.c.ms, table.c.number, table.c.topic, table.c.name, table.c.data)
            .where(step.after(seen), ~step.after(latest))
            .order_by(table.c.ms, table.c.number)
            .limit(PAGE)
        )
        with step.unavailable(), self._open().read() as session:
            return [tuple(row) for row in session.connection().execute(query)]


_of: WeakKeyDictionary[Database, News] = WeakKeyDictionary()


def of(database: Database) -> News:
    """The process's one News of that database."""
    if database not in _of:
        _of[database] = News(database)
    return _of[database]


def _begin_anew() -> None:
    """In a forked child, which has none of its parent's threads."""
    for news in list(_of.values()):
        news._begin()


os.register_at_fork(after_in_child=_begin_anew)
