"""What clients see of jobs: events on a tenant's topics, kept for replay and pushed live.

A topic `job:ID` of a tenant is the list and the pub/sub channel `PREFIX:events:TENANT:job:ID`. A list keeps about
the last 1,000 events, until an hour after the last one; starts do not count, and a job that is dropped takes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.event_format import GAP, START, Event, event_data, event_name, job_data, position, stream_suffix
from jobs.engine.event_replay import read_page
from jobs.engine.event_subscription import RedisSubscription
from jobs.engine.scripts import script
from jobs.settings import Settings

__all__ = ["GAP", "Event", "EventLog", "Events", "Subscription", "job_data", "stream_suffix"]


class Subscription(Protocol):
    """Events of some topics of one tenant: what is kept after a given id, then what happens, without a gap or a double.

    Used by one reader at a time; `add`, `remove` and `close` may be called from any thread or greenlet.
    """

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def get(self, timeout: float) -> Event | None:
        """The next event; None after `timeout` seconds, and at once when closed."""

    def add(self, topic: str, after: str | None = None) -> None:
        """Follow a topic too; `after` as in `Events.subscribe`."""

    def remove(self, topic: str) -> None:
        """Follow a topic no longer."""

    def close(self) -> None:
        """Free the connection at once; a `get` that waits elsewhere returns None."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Events(Protocol):
    """Where events are published, kept and followed."""

    def publish(self, topic: str, name: str, data: Mapping[str, Any], *, tenant: str | None) -> str:
        """Tell everybody who follows the topic; returns the event's id. Raises ValueError, BrokerUnavailable."""

    def read(self, topic: str, *, tenant: str | None, after: str | None = None, count: int = 100) -> list[Event]:
        """Up to `count` kept events after the id `after` (None or "0": from the oldest kept; "$": none).

        Raises ValueError for what is no id or topic, BrokerUnavailable.
        """

    def subscribe(
        self, topics: Sequence[str], *, tenant: str | None, after: Mapping[str, str] | None = None
    ) -> Subscription:
        """Follow topics, each from the id that `after` has for it.

        No id (or "$") means from this call on, "0" everything kept. When events after an id are no longer kept, the
        first event is `stream:gap`: fetch the state anew. Raises ValueError for what is no id or topic,
        BrokerUnavailable.
        """


class EventLog:
    """The events of a fleet in Redis."""

    def __init__(self, settings: Settings, client: redis.Redis | Callable[[], redis.Redis]) -> None:
        self._prefix = settings.rq_key_prefix
        self._client = client

    def publish(self, topic: str, name: str, data: Mapping[str, Any], *, tenant: str | None) -> str:
        """See Events.publish."""
        arguments = (self._prefix, stream_suffix(tenant, topic), event_name(name), event_data(data))
        with translate_errors():
            event_id: bytes = script("publish")(self._redis(), *arguments)
        return event_id.decode()

    def read(self, topic: str, *, tenant: str | None, after: str | None = None, count: int = 100) -> list[Event]:
        """See Events.read."""
        key = f"{self._prefix}:events:{stream_suffix(tenant, topic)}"
        if after == "$" or count < 1:
            return []
        start = START if after is None else position(after)
        with translate_errors():
            return read_page(self._redis(), key, topic, start, count).events[:count]

    def subscribe(
        self, topics: Sequence[str], *, tenant: str | None, after: Mapping[str, str] | None = None
    ) -> Subscription:
        """See Events.subscribe."""
        subscription = RedisSubscription(self._redis(), self._prefix, tenant)
        subscription.follow({topic: (after or {}).get(topic) for topic in topics})
        return subscription

    def _redis(self) -> redis.Redis:
        return self._client() if callable(self._client) else self._client
