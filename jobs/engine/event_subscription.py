"""Following topics in Redis: one pub/sub connection, replays from the lists whenever it had to be made anew."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import redis

from jobs.engine.broker import translate_errors, unavailable
from jobs.engine.event_format import Event, Position, of_message, position, reached, stream_suffix
from jobs.engine.event_replay import latest, read_page

MAX_TOPICS = 1000
PAGE = 100
PING_AFTER = timedelta(seconds=10).total_seconds()
ANSWER_WITHIN = timedelta(seconds=2).total_seconds()
FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=50).total_seconds(), timedelta(milliseconds=800).total_seconds()


@dataclass(eq=False, slots=True)
class _Topic:
    name: str
    last: Position
    behind: bool = True


class RedisSubscription:
    """See jobs.engine.events.Subscription. Only the reader, inside `get`, touches the connection."""

    def __init__(self, client: redis.Redis, prefix: str, tenant: str | None) -> None:
        self._client, self._prefix, self._tenant = client, f"{prefix}:events:", tenant
        self._topics: dict[bytes, _Topic] = {}
        self._changing = threading.Lock()
        self._reading = threading.Lock()
        self._closed = threading.Event()
        self._ready: deque[tuple[bytes, _Topic, Event]] = deque()
        self._bell = f"{self._prefix}={uuid4().hex}".encode()
        self._line: _Line | None = None
        self._failures, self._retry_at = 0, 0.0

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def add(self, topic: str, after: str | None = None) -> None:
        """Follow a topic too. Raises ValueError, or BrokerUnavailable where no id is given and Redis is away."""
        self.follow({topic: after})

    def follow(self, topics: Mapping[str, str | None]) -> None:
        """Follow several topics, each after an id, or from now on where that is None or "$"."""
        starts = self._starts(topics)
        with self._changing:
            if len(self._topics.keys() | starts.keys()) > MAX_TOPICS:
                raise ValueError(f"a subscription has at most {MAX_TOPICS} topics")
            self._topics.update(starts)
        if self._reading.locked():
            with translate_errors():
                self._client.publish(self._bell, b"")

    def remove(self, topic: str) -> None:
        """Follow a topic no longer; nothing happens for one that is not followed."""
        with self._changing:
            self._topics.pop(self._channel(topic), None)

    def get(self, timeout: float) -> Event | None:
        """The next event; None after `timeout` seconds (about one more while Redis hangs) and at once when closed.

        An outage of Redis is no error here: the subscription connects again and replays what it missed.
        """
        give_up = time.monotonic() + timeout
        if not self._reading.acquire(timeout=max(timeout, 0)):
            return None
        try:
            return self._next(give_up)
        finally:
            self._reading.release()
            if self.closed:
                self._release()

    def close(self) -> None:
        """Free the connection at once; a `get` that waits in another thread returns None."""
        self._closed.set()
        if line := self._line:
            line.hang_up()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _starts(self, topics: Mapping[str, str | None]) -> dict[bytes, _Topic]:
        live = [topic for topic, after in topics.items() if after is None or after == "$"]
        starts = {topic: position(after) for topic, after in topics.items() if after is not None and after != "$"}
        channels = {topic: self._channel(topic) for topic in topics}
        if live:
            with translate_errors():
                starts.update(
                    zip(live, latest(self._client, [channels[topic].decode() for topic in live]), strict=True)
                )
        return {channels[topic]: _Topic(topic, start) for topic, start in starts.items()}

    def _channel(self, topic: str) -> bytes:
        return f"{self._prefix}{stream_suffix(self._tenant, topic)}".encode()

    def _next(self, give_up: float) -> Event | None:
        looked = False
        while not self.closed:
            while self._ready:
                channel, topic, event = self._ready.popleft()
                if self._topics.get(channel) is topic:
                    return event
            left = give_up - time.monotonic()
            if left <= 0 and looked:
                return None
            looked = True
            self._try_step(max(left, 0.0))
        return None

    def _try_step(self, left: float) -> None:
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            self._closed.wait(min(wait, left))
            return
        try:
            self._step(left)
        except (redis.RedisError, OSError) as error:
            self._drop()
            self._failures += 1
            pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failures, 10))
            self._retry_at = time.monotonic() + random.uniform(FIRST_WAIT, pause)
            if isinstance(error, redis.RedisError) and unavailable(error) is None and not self.closed:
                raise

    def _step(self, left: float) -> None:
        line = self._connected()
        with self._changing:
            topics = dict(self._topics)
        line.listen_to({self._bell, *topics})
        for channel, topic in topics.items():
            if topic.behind and channel in line.confirmed:
                self._replay(channel, topic)
                return
        if message := line.receive(left):
            self._failures = 0
            self._take(message, topics)

    def _connected(self) -> _Line:
        if self._line is None:
            self._line = _Line(self._client)
            with self._changing:
                for topic in self._topics.values():
                    topic.behind = True
        if self.closed:
            raise redis.ConnectionError("closed meanwhile")
        return self._line

    def _replay(self, channel: bytes, topic: _Topic) -> None:
        page = read_page(self._client, channel.decode(), topic.name, topic.last, PAGE)
        self._ready.extend((channel, topic, event) for event in page.events)
        topic.last, topic.behind = page.end, page.more

    def _take(self, message: list[Any], topics: dict[bytes, _Topic]) -> None:
        channel = message[1]
        topic = topics.get(channel)
        if topic is None:
            return
        if message[0] == b"subscribe":
            topic.behind = True
        elif message[0] == b"message" and not topic.behind and (event := of_message(topic.name, message[2])):
            at = reached(event.id.encode())
            if at > topic.last:
                topic.last = at
                self._ready.append((channel, topic, event))

    def _release(self) -> None:
        if self._reading.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._reading.release()

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class _Line:
    """A pub/sub connection: which channels it was told, which of them Redis confirmed, and whether it still lives."""

    def __init__(self, client: redis.Redis) -> None:
        pool = client.connection_pool
        options = {**pool.connection_kwargs, "health_check_interval": 0}
        options["client_name"] = f"{options.get('client_name') or 'client'}-events"
        self._connection: Any = pool.connection_class(**options)
        self._connection.connect()
        self._told: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self._heard, self._pinged = time.monotonic(), False

    def listen_to(self, channels: set[bytes]) -> None:
        """Tell Redis what changed."""
        if channels == self._told:
            return
        if new := channels - self._told:
            self._connection.send_command("SUBSCRIBE", *new)
        if gone := self._told - channels:
            self._connection.send_command("UNSUBSCRIBE", *gone)
            self.confirmed -= gone
        self._told = channels

    def receive(self, timeout: float) -> list[Any] | None:
        """The next message, [kind, channel, content]. Raises redis.TimeoutError when even a ping finds no answer."""
        limit = self._heard + (PING_AFTER + ANSWER_WITHIN if self._pinged else PING_AFTER)
        wait = max(0.0, min(timeout, limit - time.monotonic()))
        try:
            message = self._connection.read_response(disconnect_on_error=False, timeout=wait)
        except redis.TimeoutError:
            self._check(limit)
            return None
        self._heard, self._pinged = time.monotonic(), False
        if message[0] == b"subscribe":
            self.confirmed.add(message[1])
        elif message[0] == b"unsubscribe":
            self.confirmed.discard(message[1])
        return message if isinstance(message, list) and len(message) == 3 else None

    def hang_up(self) -> None:
        """Close the socket's both directions under a reader in another thread, who then sees its end."""
        sock = self._connection._get_socket()
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's own: that changes what the reader uses
            except OSError:
                return

    def close(self) -> None:
        """Give the connection up."""
        self._connection.disconnect()

    def _check(self, limit: float) -> None:
        now = time.monotonic()
        if now < limit:
            return
        if self._pinged:
            raise redis.TimeoutError("the pub/sub connection is dead")
        self._connection.send_command("PING")
        self._heard, self._pinged = now - PING_AFTER, True
