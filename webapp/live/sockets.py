"""One WebSocket: what the client asks for, and the events pushed to it, until either side has had enough."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from simple_websocket import ConnectionClosed, Server  # type: ignore[import-untyped]
from wsproto.utilities import LocalProtocolError

from jobs.engine import BrokerUnavailable
from jobs.engine.events import Events, Subscription
from webapp.live.connections import connections
from webapp.live.topics import BadRequest, event_id_of, topic_of
from webapp.live.traffic import SENT_BY_SOCKET
from webapp.principal import Principal
from webapp.revocation import ENDED
from webapp.revocation import topic_of as topic_of_sign_in
from webapp.standings import Watched, unwatched

MOST_TOPICS = 100
MESSAGE_BYTES = 4096
PING_EVERY = timedelta(seconds=25)
SLOWEST_SEND = timedelta(seconds=10)
LOOK_UP = timedelta(seconds=15)
LOOK_AGAIN = timedelta(seconds=5)
BUCKET, REFILL_A_SECOND = 120.0, 10.0

GOING_AWAY, POLICY_VIOLATION, BROKEN, SIGN_IN_AGAIN = 1001, 1008, 1011, 4401
CLOSE, OPCODE = 0x8, 0x0F
OVER = (ConnectionClosed, LocalProtocolError, OSError)
"""How it shows that the other side, or another thread, has closed the connection meanwhile."""
log = structlog.get_logger("webapp")


class LiveSocket:
    """Runs one connection; every topic it can name is its principal's tenant's own."""

    def __init__(
        self,
        server: Server,
        events: Events,
        principal: Principal,
        until: datetime,
        slowest_send: timedelta = SLOWEST_SEND,
        watched: Watched = unwatched,
    ) -> None:
        self._watched = watched
        self._server, self._events, self._principal, self._until = server, events, principal, until
        self._sending, self._slowest_send = threading.Lock(), slowest_send
        self._topics: set[str] = set()
        self._allowance, self._counted = BUCKET, time.monotonic()
        server.sock = WholeFrames(server, slowest_send)

    def run(self) -> None:
        """Serve until the client leaves, its sign-in ends, it is too slow or too greedy, or the process stops.

        Raises nothing, and ends with the connection: what came after this would be an HTTP answer among frames.
        """
        try:
            self._serve()
        except OVER:
            pass
        except BrokerUnavailable:
            self._close(GOING_AWAY, "no events can be followed right now; connect again and resume")
        except Exception:
            log.exception("a live connection broke")
            self._close(BROKEN, "something went wrong; connect again and resume")
        finally:
            self._server.thread.join(self._slowest_send.total_seconds())  # it may have to answer the client's last word
            self._server.sock.hang_up()

    def _serve(self) -> None:
        tenant = self._principal.tenant
        with self._events.subscribe([], tenant=tenant) as subscription, connections.hold(tenant, self._go_away):
            subscription.add(topic_of_sign_in(self._principal), after="0")
            threading.Thread(target=self._push, args=(subscription,), daemon=True).start()
            with self._watched(self._end_sign_in):
                self._listen(subscription)

    def _listen(self, subscription: Subscription) -> None:
        while self._server.thread.is_alive():  # its last wake-up may come before it says that it has ended
            text = self._server.receive(timeout=LOOK_AGAIN.total_seconds())
            if text is not None:
                self._answer(text, subscription)

    def _push(self, subscription: Subscription) -> None:
        try:
            while not subscription.closed:
                left = (self._until - datetime.now(UTC)).total_seconds()
                if left <= 0:
                    self._close(SIGN_IN_AGAIN, "the sign-in has ended")
                    return
                event = subscription.get(min(left, LOOK_UP.total_seconds()))
                if event is not None and event.name == ENDED:
                    self._end_sign_in()
                    return
                if event is not None:
                    self._send(event.as_dict())
                    SENT_BY_SOCKET.inc()
        except OVER:
            self._server.sock.hang_up()

    def _answer(self, text: str | bytes, subscription: Subscription) -> None:
        if not self._within_rate():
            self._close(POLICY_VIOLATION, "too many messages")
            raise ConnectionClosed(POLICY_VIOLATION)
        try:
            message = _parsed(text)
            with self._sending:
                self._write(self._do(message, subscription))
        except BadRequest as error:
            self._send({"type": "error", "code": error.code, "detail": str(error)})
        except BrokerUnavailable:
            self._send({"type": "error", "code": "unavailable", "detail": "try again in a moment"})

    def _do(self, message: dict[str, Any], subscription: Subscription) -> dict[str, Any]:
        """Called with the sending lock held, so that "subscribed" goes out before the topic's first event."""
        action = message.get("action")
        if action == "ping":
            return {"type": "pong"}
        if action not in ("subscribe", "unsubscribe"):
            raise BadRequest("bad_action", 'the action is "subscribe", "unsubscribe" or "ping"')
        topic = topic_of(message, self._principal)
        if action == "unsubscribe":
            subscription.remove(topic)
            self._topics.discard(topic)
            return {"type": "unsubscribed", "topic": topic}
        if len(self._topics | {topic}) > MOST_TOPICS:
            raise BadRequest("too_many_topics", f"a connection follows at most {MOST_TOPICS} topics")
        subscription.add(topic, after=event_id_of(message.get("after")))
        self._topics.add(topic)
        return {"type": "subscribed", "topic": topic}

    def _within_rate(self) -> bool:
        now = time.monotonic()
        self._allowance = min(BUCKET, self._allowance + (now - self._counted) * REFILL_A_SECOND) - 1
        self._counted = now
        return self._allowance >= 0

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending:
            self._write(message)

    def _write(self, message: dict[str, Any]) -> None:
        self._server.send(json.dumps(message, separators=(",", ":")))

    def _end_sign_in(self) -> None:
        self._close(SIGN_IN_AGAIN, "the sign-in was ended")

    def _go_away(self) -> None:
        self._close(GOING_AWAY, "this server is stopping; connect again and resume")

    def _close(self, code: int, reason: str) -> None:
        with suppress(*OVER):
            self._server.close(code, reason)
        self._server.sock.hang_up()


class WholeFrames:
    """The server's socket, but frames go out whole, in time and before the closing one or not at all; floods end it.

    The library calls `send` once a frame: a full buffer may take a part of it only, and pongs come from its own thread.
    """

    def __init__(self, server: Server, slowest_send: timedelta) -> None:
        self._server, self._sock = server, server.sock
        self._sending, self._is_closing = threading.Lock(), False
        self._sock.settimeout(slowest_send.total_seconds())

    def send(self, data: bytes) -> int:
        """Send all of `data`. Raises OSError when the client does not take it in time."""
        with self._sending:
            if self._is_closing:
                raise OSError("a frame that closes the connection was the last one")
            self._is_closing = data[0] & OPCODE == CLOSE
            try:
                self._sock.sendall(data)
            except OSError:
                self.hang_up()
                raise
        return len(data)

    def recv(self, size: int) -> bytes:
        """Read on. Raises OSError when the client sends faster than it is answered."""
        if len(self._server.input_buffer) > BUCKET:
            raise OSError("the client floods us")
        data: bytes = self._sock.recv(size)
        return data

    def hang_up(self) -> None:
        """Wake whoever reads or writes: the connection is over."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back."""
        self._sock.close()

    def fileno(self) -> int:
        """For the library's selector."""
        number: int = self._sock.fileno()
        return number


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise BadRequest("bad_message", "a message is a JSON object")
    return message
