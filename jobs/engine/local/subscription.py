"""Following topics in SQL: replays from the table, then what the news of the process brings."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jobs.engine.errors import BrokerUnavailable
from jobs.engine.event_format import Event, Position, of_message, position, stream_suffix, written
from jobs.engine.local import step
from jobs.engine.local.news import News

if TYPE_CHECKING:
    from jobs.engine.local.events import LocalEvents

MAX_TOPICS = 1000
PAGE = 100
MOST_WAITING = 2000
"""Live events that wait for a slow reader; beyond that its topics are replayed from the table."""
TRY_AGAIN = 0.5


@dataclass(eq=False, slots=True)
class _Topic:
    name: str
    last: Position
    behind: bool = True


class LocalSubscription:
    """See jobs.engine.events.Subscription."""

    def __init__(self, events: LocalEvents, news: News, tenant: str | None) -> None:
        self._events, self._news, self._tenant = events, news, tenant
        self._changed = threading.Condition()
        self._reading = threading.Lock()
        self._topics: dict[str, _Topic] = {}
        self._live: deque[tuple[str, Position, str, str]] = deque()
        self._ready: deque[tuple[str, _Topic, Event]] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def start(self, topics: Mapping[str, str | None]) -> None:
        """Follow several topics, each after an id, or from now on where that is None or "$"."""
        keys = {topic: step.bounded(stream_suffix(self._tenant, topic)) for topic in topics}
        given = {topic: position(after) for topic, after in topics.items() if after is not None and after != "$"}
        for key in keys.values():
            self._news.follow(key, self)
        try:
            now = self._events.latest() if len(given) < len(topics) else None
            with self._changed:
                if len(self._topics.keys() | set(keys.values())) > MAX_TOPICS:
                    raise ValueError(f"a subscription has at most {MAX_TOPICS} topics")
                for topic, key in keys.items():
                    live = topic not in given
                    self._topics[key] = _Topic(topic, now if live and now else given.get(topic, (0, 0)), not live)
                self._changed.notify_all()
        except BaseException:
            for key in keys.values():
                if key not in self._topics:
                    self._news.leave(key, self)
            raise

    def add(self, topic: str, after: str | None = None) -> None:
        """Follow a topic too. Raises ValueError, BrokerUnavailable."""
        self.start({topic: after})

    def remove(self, topic: str) -> None:
        """Follow a topic no longer; nothing happens for one that is not followed."""
        key = step.bounded(stream_suffix(self._tenant, topic))
        with self._changed:
            self._topics.pop(key, None)
        self._news.leave(key, self)

    def hear(self, topic: str, at: Position, name: str, data: str) -> None:
        """See news.Follower."""
        with self._changed:
            if len(self._live) >= MOST_WAITING:
                self._live.clear()
                for each in self._topics.values():
                    each.behind = True
            else:
                self._live.append((topic, at, name, data))
            self._changed.notify_all()

    def get(self, timeout: float) -> Event | None:
        """The next event; None after `timeout` seconds and at once when closed; waits on while the database is away."""
        give_up = time.monotonic() + timeout
        if not self._reading.acquire(timeout=max(timeout, 0)):
            return None
        try:
            return self._next(give_up)
        finally:
            self._reading.release()

    def close(self) -> None:
        """Follow nothing any more; a `get` that waits elsewhere returns None."""
        with self._changed:
            self._closed = True
            keys = list(self._topics)
            self._changed.notify_all()
        for key in keys:
            self._news.leave(key, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self, give_up: float) -> Event | None:
        looked = False
        while not self._closed:
            while self._ready:
                key, topic, event = self._ready.popleft()
                if self._topics.get(key) is topic:
                    return event
            left = give_up - time.monotonic()
            if left <= 0 and looked:
                return None
            looked = True
            self._step(max(left, 0.0))
        return None

    def _step(self, left: float) -> None:
        with self._changed:
            behind = next(((key, topic) for key, topic in self._topics.items() if topic.behind), None)
            if behind is None and not self._live:
                self._changed.wait(left)
            if behind is None:
                self._take()
                return
        try:
            self._replay(*behind)
        except BrokerUnavailable:
            with self._changed:
                self._changed.wait(min(left, TRY_AGAIN))

    def _take(self) -> None:
        while self._live:
            key, at, name, data = self._live.popleft()
            topic = self._topics.get(key)
            if topic is None or topic.behind or at <= topic.last:
                continue
            topic.last = at
            if event := as_event(topic.name, at, name, data):
                self._ready.append((key, topic, event))

    def _replay(self, key: str, topic: _Topic) -> None:
        topic.behind = False
        try:
            page = self._events.page(key, topic.name, topic.last, PAGE)
        except BaseException:
            topic.behind = True
            raise
        self._ready.extend((key, topic, event) for event in page.events)
        topic.last = page.end
        topic.behind = topic.behind or page.more


def as_event(topic: str, at: Position, name: str, data: str) -> Event | None:
    """A stored event, or None for one that was not written by us."""
    return of_message(topic, f"{written(at)} {name} {data}".encode())
