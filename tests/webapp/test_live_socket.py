"""The WebSocket: who gets in, what it answers, that nothing is lost or doubled, and what it does not put up with."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from apiflask import APIFlask
from simple_websocket import ConnectionClosed
from simple_websocket import ConnectionError as Refused

from jobs.engine import Fleet
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.webapp.conftest import BOTH_WAYS, Header
from tests.webapp.live_server import Socket, get, serving, wait_for_connections
from webapp.auth import SCOPES, make_token
from webapp.live import sockets
from webapp.live.connections import Connections, connections

TOPIC = "workspace:w1"

pytestmark = BOTH_WAYS


@pytest.fixture
def base(app: APIFlask) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture
def connect(base: str, settings: Settings) -> Iterator[Callable[..., Socket]]:
    opened: list[Socket] = []

    def connect(tenant: str = "ours", scopes: frozenset[str] = SCOPES, ttl: timedelta = timedelta(hours=1)) -> Socket:
        opened.append(Socket(base, token=make_token(settings, tenant, scopes, ttl=ttl)))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def publish(fleet: Fleet, number: int, tenant: str = "ours", topic: str = TOPIC) -> str:
    return fleet.events.publish(topic, "job:progress", {"number": number}, tenant=tenant)


def test_an_event_reaches_a_subscriber_as_it_happens(connect: Callable[..., Socket], fleet: Fleet) -> None:
    client = connect()
    assert client.ask(action="subscribe", topic=TOPIC) == {"type": "subscribed", "topic": TOPIC}
    sent = publish(fleet, 1)
    heard = client.hear()
    assert heard.pop("at").endswith("Z")
    assert heard == {"id": sent, "topic": TOPIC, "event": "job:progress", "data": {"number": 1}}


def test_topics_can_be_named_by_the_id_of_what_they_are_about(connect: Callable[..., Socket]) -> None:
    client = connect()
    assert client.ask(action="subscribe", workspaceId="w9")["topic"] == "workspace:w9"
    assert client.ask(action="subscribe", jobId="j9")["topic"] == "job:j9"
    assert client.ask(action="subscribe", conversationId="c9")["topic"] == "conversation:c9"


def test_a_client_that_was_away_gets_what_it_missed_and_no_event_twice(
    connect: Callable[..., Socket], fleet: Fleet
) -> None:
    """Events keep coming while the client resumes, so that replay and live push overlap."""
    seen = publish(fleet, 0)
    for number in range(1, 150):
        publish(fleet, number)
    more = threading.Thread(target=lambda: [publish(fleet, number) for number in range(150, 400)])
    more.start()
    client = connect()
    assert client.ask(action="subscribe", topic=TOPIC, after=seen)["type"] == "subscribed"
    assert [client.hear()["data"]["number"] for _ in range(399)] == list(range(1, 400))
    more.join(10)
    assert client.ask(action="ping") == {"type": "pong"}


def test_another_tenants_topic_of_the_same_name_stays_silent(connect: Callable[..., Socket], fleet: Fleet) -> None:
    client = connect("ours")
    client.ask(action="subscribe", topic=TOPIC, after="0")
    publish(fleet, 1, tenant="theirs")
    publish(fleet, 2, tenant="ours")
    assert client.hear()["data"] == {"number": 2}


def test_an_unsubscribed_topic_is_silent(connect: Callable[..., Socket], fleet: Fleet) -> None:
    client = connect()
    client.ask(action="subscribe", topic=TOPIC)
    client.ask(action="subscribe", topic="job:other")
    assert client.ask(action="unsubscribe", topic=TOPIC) == {"type": "unsubscribed", "topic": TOPIC}
    publish(fleet, 1)
    publish(fleet, 2, topic="job:other")
    assert client.hear()["data"] == {"number": 2}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "bad_message"),
        ("[1]", "bad_message"),
        ("[" * 4000, "bad_message"),
        ('{"action": "publish"}', "bad_action"),
        ('{"action": "subscribe"}', "bad_topic"),
        ('{"action": "subscribe", "topic": "theirs:workspace:w1"}', "bad_topic"),
        ('{"action": "subscribe", "topic": "job:a*"}', "bad_topic"),
        ('{"action": "subscribe", "topic": "metrics:all"}', "bad_topic"),
        ('{"action": "subscribe", "topic": 7}', "bad_topic"),
        ('{"action": "subscribe", "jobId": {"a": 1}}', "bad_topic"),
        ('{"action": "subscribe", "topic": "job:a", "jobId": "b"}', "bad_topic"),
        ('{"action": "subscribe", "topic": "job:a", "after": "yesterday"}', "bad_event_id"),
        ('{"action": "subscribe", "topic": "job:a", "after": 5}', "bad_event_id"),
    ],
)
def test_what_cannot_be_done_is_answered_with_an_error_and_the_connection_stays(
    connect: Callable[..., Socket], message: str, code: str
) -> None:
    client = connect()
    client.client.send(message)
    heard = client.hear()
    assert (heard["type"], heard["code"]) == ("error", code)
    assert client.ask(action="ping") == {"type": "pong"}


def test_a_topic_needs_its_scope(connect: Callable[..., Socket]) -> None:
    client = connect(scopes=frozenset({"documents:read"}))
    assert client.ask(action="subscribe", jobId="j1")["code"] == "forbidden"
    assert client.ask(action="subscribe", workspaceId="w1")["type"] == "subscribed"


def test_a_connection_follows_a_limited_number_of_topics(connect: Callable[..., Socket]) -> None:
    client = connect()
    for number in range(sockets.MOST_TOPICS):
        assert client.ask(action="subscribe", jobId=f"j{number}")["type"] == "subscribed"
    assert client.ask(action="subscribe", jobId="one-more")["code"] == "too_many_topics"
    assert client.ask(action="subscribe", jobId="j1")["type"] == "subscribed"


def test_a_message_over_the_limit_ends_the_connection(connect: Callable[..., Socket]) -> None:
    """Twenty of them, since the library's last wake-up comes too early only now and then."""
    for client in [connect() for _ in range(20)]:
        client.client.send("x" * (sockets.MESSAGE_BYTES + 1))
        assert client.closed_with() == 1009
    wait_until(lambda: len(connections) == 0)


def test_a_client_that_talks_without_end_is_dropped(connect: Callable[..., Socket]) -> None:
    client = connect()
    with suppress(ConnectionClosed, OSError):  # a server that is slow may have all of them in its buffers
        for _ in range(100_000):
            client.say(action="ping")
    wait_until(lambda: not client.client.connected)


def test_a_client_that_does_not_read_is_dropped(connect: Callable[..., Socket], fleet: Fleet, app: APIFlask) -> None:
    app.config["LIVE_SLOWEST_SEND"] = timedelta(seconds=0.3)
    client = connect()
    client.ask(action="subscribe", topic=TOPIC)
    stalled = client.client
    stalled.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    stop_reading(client)
    noise = {"noise": [hash((number, "noise")) for number in range(2500)]}
    for _ in range(400):
        fleet.events.publish(TOPIC, "job:progress", noise, tenant="ours")
        if len(connections) == 0:
            break
    wait_until(lambda: len(connections) == 0)
    wait_for_connections(app, 0)


def stop_reading(client: Socket) -> None:
    """Make the client's own thread hang in its next message, as a browser on a suspended machine would."""
    asleep = threading.Event()
    client.client.input_buffer = Stuck(asleep)  # type: ignore[assignment]


class Stuck(list):  # type: ignore[type-arg]
    def __init__(self, asleep: threading.Event) -> None:
        super().__init__()
        self.asleep = asleep

    def append(self, item: object) -> None:
        self.asleep.wait(60)


@pytest.mark.usefixtures("redis_only")
def test_a_client_that_leaves_frees_its_connection_to_redis(connect: Callable[..., Socket], app: APIFlask) -> None:
    several = [connect() for _ in range(5)]
    for client in several:
        client.ask(action="subscribe", topic=TOPIC)
    wait_for_connections(app, 5)
    several[0].close()
    several[1].client.sock.shutdown(socket.SHUT_RDWR)
    wait_for_connections(app, 3)
    for client in several[2:]:
        client.close()
    wait_for_connections(app, 0)
    wait_until(lambda: len(connections) == 0)


def test_the_connection_ends_when_the_token_expires(connect: Callable[..., Socket]) -> None:
    client = connect(ttl=timedelta(seconds=4))
    client.ask(action="ping")
    assert client.closed_with() == sockets.SIGN_IN_AGAIN


def test_closing_all_tells_each_client_to_come_back(base: str, settings: Settings, app: APIFlask) -> None:
    held = Connections()
    told: list[int] = []
    with held.hold("ours", lambda: told.append(1)), held.hold("theirs", lambda: told.append(2)):
        held.close_all()
        assert sorted(told) == [1, 2]
    assert len(held) == 0


@pytest.mark.parametrize("query", [{}, {"token": "nonsense"}, {"ticket": "nonsense"}])
def test_strangers_are_refused_before_the_handshake(base: str, query: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        Socket(base, **query)
    assert "401" in str(refused.value)


def test_the_problem_document_of_a_refusal_does_not_hold_the_token(base: str, us: Header) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
    answer = get(f"{base}/api/ws?token=canary-token-canary", upgrade)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "canary" not in answer.text + json.dumps(dict(answer.headers))


def test_a_ticket_opens_one_connection_and_no_second(base: str, us: Header, fleet: Fleet, app: APIFlask) -> None:
    answer = app.test_client().post("/api/ws/ticket", headers=us)
    assert answer.status_code == 201
    ticket = answer.json["ticket"]
    client = Socket(base, ticket=ticket)
    assert client.ask(action="subscribe", topic=TOPIC)["type"] == "subscribed"
    publish(fleet, 1)
    assert client.hear()["data"] == {"number": 1}
    client.close()
    with pytest.raises(Refused):
        Socket(base, ticket=ticket)


@pytest.mark.usefixtures("redis_only")
def test_a_ticket_is_kept_hashed_and_for_half_a_minute(us: Header, app: APIFlask) -> None:
    ticket = app.test_client().post("/api/ws/ticket", headers=us).json["ticket"]
    redis = app.extensions["fleet"].redis
    [key] = list(redis.scan_iter("*ws-ticket*"))
    assert ticket.encode() not in key and ticket.encode() not in redis.get(key)
    assert 0 < redis.ttl(key) <= 30


@pytest.mark.parametrize(("origin", "admitted"), [("same", True), ("https://elsewhere.example", False), (None, False)])
def test_the_session_counts_only_for_a_page_of_our_own(
    base: str, app: APIFlask, origin: str | None, admitted: bool
) -> None:
    ours = "http://127.0.0.1"  # the test's client leaves the port out of its Host header
    headers = {"Cookie": session_cookie(app)} | ({"Origin": ours if origin == "same" else origin} if origin else {})
    if admitted:
        client = Socket(base, headers=headers)
        assert client.ask(action="ping") == {"type": "pong"}
        client.close()
    else:
        with pytest.raises(Refused):
            Socket(base, headers=headers)


def session_cookie(app: APIFlask) -> str:
    from webapp.sessions import make_ticket

    client = app.test_client()
    client.get("/dev/sign-in", query_string={"ticket": make_ticket(app.extensions["settings"])})
    cookie = client.get_cookie("session")
    assert cookie is not None
    return f"session={cookie.value}"
