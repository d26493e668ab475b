"""Events on a real Redis: nothing twice, nothing missed, nothing of another tenant."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.events import GAP, Event, EventLog, Subscription, job_data, stream_suffix
from jobs.engine.scripts import script
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, free_port, wait_until
from tests.engine.redis_servers import make_certificates, running, tls_binary

TOPIC = "job:abc"
GUARD = 30.0


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with broker.connect(settings) as client:
        yield client


@pytest.fixture
def log(settings: Settings, client: redis.Redis) -> EventLog:
    return EventLog(settings, client)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps its data on disk and that the test may stop."""
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    if server.process is not None:
        server.stop(signal.SIGKILL)


@pytest.fixture
def own_log(own_server: RedisServer) -> Iterator[EventLog]:
    settings = Settings(environment="test", redis_url=own_server.url)
    with broker.connect(settings) as client:
        yield EventLog(settings, client)


def publish(log: EventLog, *numbers: int, topic: str = TOPIC, tenant: str | None = "acme") -> list[str]:
    return [log.publish(topic, "job:progress", {"n": number}, tenant=tenant) for number in numbers]


def take(subscription: Subscription, count: int) -> list[Event]:
    """The next `count` events, each waited for."""
    events = []
    for _ in range(count):
        event = subscription.get(GUARD)
        assert event is not None, f"only {len(events)} of {count} events came"
        events.append(event)
    return events


def numbers(events: list[Event]) -> list[int]:
    return [event.data["n"] for event in events]


def test_a_published_event_is_kept_and_read_back(log: EventLog) -> None:
    event_id = log.publish(TOPIC, "job:started", {"job_id": "abc", "text": "ü 1 2\n"}, tenant="acme")
    [event] = log.read(TOPIC, tenant="acme")
    assert (event.id, event.topic, event.name, event.data) == (
        event_id,
        TOPIC,
        "job:started",
        {"job_id": "abc", "text": "ü 1 2\n"},
    )
    as_dict = event.as_dict()
    assert as_dict.keys() == {"id", "topic", "event", "data", "at"}
    assert as_dict["at"].endswith("Z")


def test_reading_goes_on_after_an_id_page_by_page(log: EventLog) -> None:
    ids = publish(log, *range(5))
    assert numbers(log.read(TOPIC, tenant="acme", count=2)) == [0, 1]
    assert numbers(log.read(TOPIC, tenant="acme", after=ids[1], count=2)) == [2, 3]
    assert numbers(log.read(TOPIC, tenant="acme", after="0")) == [0, 1, 2, 3, 4]
    assert log.read(TOPIC, tenant="acme", after=ids[-1]) == []
    assert log.read(TOPIC, tenant="acme", after="$") == []


def test_a_stream_is_capped_and_runs_out(log: EventLog, client: redis.Redis) -> None:
    publish(log, *range(1500))
    key = f"rq:events:{stream_suffix('acme', TOPIC)}"
    assert 1000 <= client.xlen(key) < 1200
    assert 86_000 < client.ttl(key) <= 86_400


def test_a_subscription_begins_with_the_call_and_not_with_the_first_get(log: EventLog) -> None:
    publish(log, 1)
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        publish(log, 2)
        assert numbers(take(subscription, 1)) == [2]
        publish(log, 3)
        assert numbers(take(subscription, 1)) == [3]
        assert subscription.get(0.05) is None


def test_a_client_that_was_away_resumes_from_the_last_id_it_saw(log: EventLog) -> None:
    ids = publish(log, *range(400))
    with log.subscribe([TOPIC], tenant="acme", after={TOPIC: ids[49]}) as subscription:
        publish(log, *range(400, 450))
        assert numbers(take(subscription, 400)) == list(range(50, 450))
        assert subscription.get(0.05) is None


def test_everything_kept_is_replayed_from_0(log: EventLog) -> None:
    publish(log, 1, 2)
    with log.subscribe([TOPIC], tenant="acme", after={TOPIC: "0"}) as subscription:
        assert numbers(take(subscription, 2)) == [1, 2]


def test_ten_thousand_events_arrive_once_and_in_order_though_connections_break(
    log: EventLog, client: redis.Redis
) -> None:
    key = stream_suffix("acme", TOPIC)
    seen: list[int] = []

    def write() -> None:
        for first in range(0, 10_000, 100):
            wait_until(lambda first=first: len(seen) > first - 800)  # the stream keeps 1,000: stay within it
            if first % 2000 == 1000:
                client.client_kill_filter(_type="pubsub")
            for number in range(first, first + 100):
                script("publish")(client, "rq", key, "job:progress", f'{{"n":{number}}}')

    writer = threading.Thread(target=write)
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        writer.start()
        while len(seen) < 10_000:
            seen += numbers(take(subscription, 1))
        writer.join(GUARD)
        assert subscription.get(0.05) is None
    assert seen == list(range(10_000))


def test_topics_are_added_and_removed_while_a_reader_waits(log: EventLog) -> None:
    publish(log, 1, topic="job:later")
    got: list[Event | None] = []
    with log.subscribe([], tenant="acme") as subscription:
        reader = threading.Thread(target=lambda: got.append(subscription.get(GUARD)))
        reader.start()
        subscription.add("job:later", after="0")
        reader.join(GUARD)
        assert numbers([event for event in got if event]) == [1]
        subscription.remove("job:later")
        publish(log, 2, topic="job:later")
        subscription.add("job:other")
        publish(log, 3, topic="job:other")
        assert numbers(take(subscription, 1)) == [3]
        subscription.add("job:later", after="0")
        assert numbers(take(subscription, 2)) == [1, 2]


def test_a_waiting_reader_hears_of_a_new_topic_at_once(log: EventLog, client: redis.Redis) -> None:
    before = _pubsub_connections(client)
    with log.subscribe([], tenant="acme") as subscription:
        reader = threading.Thread(target=subscription.get, args=(600,))
        reader.start()
        wait_until(lambda: _pubsub_connections(client) == before + 1)
        subscription.add(TOPIC)
        channel = f"rq:events:{stream_suffix('acme', TOPIC)}"
        wait_until(lambda: client.pubsub_numsub(channel)[0][1] == 1, timeout=8)  # the next ping would come after 10 s
    reader.join(GUARD)
    assert not reader.is_alive()


def test_nothing_of_a_removed_topic_comes_any_more(log: EventLog) -> None:
    publish(log, 1, 2, 3)
    with log.subscribe([TOPIC], tenant="acme", after={TOPIC: "0"}) as subscription:
        assert numbers(take(subscription, 1)) == [1]
        subscription.remove(TOPIC)
        assert subscription.get(0.05) is None
        subscription.remove(TOPIC)


def test_a_topic_that_is_left_and_followed_anew_is_replayed_in_order(log: EventLog) -> None:
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        publish(log, 0)
        take(subscription, 1)
        publish(log, 1, 2, 3)
        subscription.remove(TOPIC)
        assert subscription.get(0) is None
        subscription.add(TOPIC, after="0")
        assert numbers(take(subscription, 4)) == [0, 1, 2, 3]
        assert subscription.get(0.05) is None


def test_two_tenants_never_see_each_other(log: EventLog) -> None:
    strange = ["acme", "acme:job", "a,b", "ac*me", "", "%61cme", "{acme}", "acme\n", "ä", "=acme"]
    with ExitStack() as stack:
        subscriptions = [stack.enter_context(log.subscribe([TOPIC], tenant=tenant)) for tenant in strange]
        for number, tenant in enumerate(strange):
            publish(log, number, tenant=tenant)
        for number, (tenant, subscription) in enumerate(zip(strange, subscriptions, strict=True)):
            assert numbers(log.read(TOPIC, tenant=tenant)) == [number]
            assert numbers(take(subscription, 1)) == [number]
            assert subscription.get(0.02) is None


@pytest.mark.parametrize(
    "topic", ["", "job", "job:", "job:a:b", "JOB:a", "job:a,b", "job:a b", "job:" + "a" * 129, "job:ä"]
)
def test_a_malformed_topic_is_refused(log: EventLog, topic: str) -> None:
    for call in (
        lambda: publish(log, 1, topic=topic),
        lambda: log.read(topic, tenant="acme"),
        lambda: log.subscribe([topic], tenant="acme"),
    ):
        with pytest.raises(ValueError, match="topic"):
            call()


@pytest.mark.parametrize("event_id", ["", "x", "1-", "-1", "1-1-1", "+", "(1-0", "1 -0", "9" * 19, "1-0\n", "\u0661-0"])
def test_a_malformed_event_id_is_refused(log: EventLog, event_id: str) -> None:
    with pytest.raises(ValueError, match="event id"):
        log.read(TOPIC, tenant="acme", after=event_id)
    with pytest.raises(ValueError, match="event id"):
        log.subscribe([TOPIC], tenant="acme", after={TOPIC: event_id})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("job started", {}),
        ("", {}),
        ("Job", {}),
        ("job:progress", {"n": float("nan")}),
        ("job:progress", {"n": "x" * 65536}),
    ],
)
def test_an_event_that_cannot_travel_is_refused(log: EventLog, name: str, data: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        log.publish(TOPIC, name, data, tenant="acme")
    assert log.read(TOPIC, tenant="acme") == []


def test_an_id_older_than_what_is_kept_is_answered_with_a_gap(log: EventLog) -> None:
    first, *_ = publish(log, *range(1500))
    gap, *rest = log.read(TOPIC, tenant="acme", after=first, count=2000)
    assert (gap.name, gap.data, gap.topic) == (GAP, {"after": first}, TOPIC)
    assert numbers(rest)[-1] == 1499
    with log.subscribe([TOPIC], tenant="acme", after={TOPIC: first}) as subscription:
        assert [event.name for event in take(subscription, 2)] == [GAP, "job:progress"]
    kept = rest[0].id
    assert GAP not in [event.name for event in log.read(TOPIC, tenant="acme", after=kept)]


def test_an_id_of_a_stream_that_ran_out_or_began_anew_is_answered_with_a_gap(
    log: EventLog, client: redis.Redis
) -> None:
    [seen] = publish(log, 1)
    client.delete(f"rq:events:{stream_suffix('acme', TOPIC)}")
    assert [event.name for event in log.read(TOPIC, tenant="acme", after=seen)] == [GAP]
    publish(log, 2)
    events = log.read(TOPIC, tenant="acme", after="999999999999999-0")
    assert [event.name for event in events] == [GAP, "job:progress"]


def test_a_restart_in_the_middle_loses_and_doubles_nothing(own_server: RedisServer, own_log: EventLog) -> None:
    with own_log.subscribe([TOPIC, "job:live"], tenant="acme", after={TOPIC: "0"}) as subscription:
        publish(own_log, 1, 2)
        assert numbers(take(subscription, 2)) == [1, 2]
        own_server.stop(signal.SIGKILL)
        assert subscription.get(0.05) is None
        own_server.start()
        publish(own_log, 3, 4)
        publish(own_log, 5, topic="job:live")
        assert sorted(numbers(take(subscription, 3))) == [3, 4, 5]
        publish(own_log, 6)
        assert numbers(take(subscription, 1)) == [6]
        assert subscription.get(0.05) is None


def test_a_broken_connection_is_made_anew_and_what_was_missed_is_replayed(log: EventLog, client: redis.Redis) -> None:
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        publish(log, 1)
        assert numbers(take(subscription, 1)) == [1]
        for round_ in range(2, 12, 2):
            client.client_kill_filter(_type="pubsub")
            publish(log, round_, round_ + 1)
            assert numbers(take(subscription, 2)) == [round_, round_ + 1]


def test_a_redis_that_lost_its_data_is_answered_with_a_gap(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    settings = Settings(environment="test", redis_url=server.url)
    with broker.connect(settings) as client:
        log = EventLog(settings, client)
        with log.subscribe([TOPIC], tenant="acme") as subscription:
            publish(log, 1)
            take(subscription, 1)
            server.stop(signal.SIGKILL)
            server.start()
            assert [event.name for event in take(subscription, 1)] == [GAP]
            publish(log, 2)
            assert numbers(take(subscription, 1)) == [2]
    server.stop()


def test_a_hung_redis_is_no_error_for_a_reader(own_server: RedisServer, own_log: EventLog) -> None:
    with own_log.subscribe([TOPIC], tenant="acme") as subscription:
        assert subscription.get(0.01) is None
        assert own_server.process is not None
        own_server.process.send_signal(signal.SIGSTOP)
        assert subscription.get(0.05) is None
        with pytest.raises(BrokerUnavailable):
            publish(own_log, 1)
        with pytest.raises(BrokerUnavailable):
            own_log.subscribe([TOPIC], tenant="acme")
        own_server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: _publishes(own_log, 2))
        while numbers(take(subscription, 1)) != [
            2
        ]:  # whether 1 was published is unknown: Redis may run it when it wakes
            pass


def _publishes(log: EventLog, number: int) -> bool:
    try:
        return bool(publish(log, number))
    except BrokerUnavailable:
        return False


def _pubsub_connections(client: redis.Redis) -> int:
    return len(client.client_list(_type="pubsub"))


def test_closing_from_another_thread_wakes_the_reader_and_frees_the_connection(
    log: EventLog, client: redis.Redis
) -> None:
    got: list[Event | None] = []
    before = _pubsub_connections(client)
    subscription = log.subscribe([TOPIC], tenant="acme")
    reader = threading.Thread(target=lambda: got.append(subscription.get(600)))
    reader.start()
    wait_until(lambda: _pubsub_connections(client) == before + 1)
    subscription.close()
    reader.join(GUARD)
    assert got == [None]
    assert subscription.closed
    wait_until(lambda: _pubsub_connections(client) == before)
    assert subscription.get(600) is None


def test_closing_between_two_gets_frees_the_connection(log: EventLog, client: redis.Redis) -> None:
    before = _pubsub_connections(client)
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        assert subscription.get(0.01) is None
        assert _pubsub_connections(client) == before + 1
    wait_until(lambda: _pubsub_connections(client) == before)


def test_it_works_over_tls_while_another_thread_adds_topics_and_closes(tmp_path: Path) -> None:
    certificates, port = make_certificates(tmp_path), free_port()
    arguments = ["--port", "0", "--tls-port", str(port), "--save", "", *certificates.server_options()]
    settings = Settings(environment="test", redis_url=f"rediss://localhost:{port}", redis_tls_ca=certificates.authority)
    got: list[Event | None] = []
    with (
        running(tls_binary(tmp_path), arguments, tmp_path, lambda: broker.connect(settings)),
        broker.connect(settings) as client,
    ):
        log = EventLog(settings, client)
        publish(log, *range(300))
        subscription = log.subscribe([], tenant="acme")
        reader = threading.Thread(target=lambda: got.extend(iter(lambda: subscription.get(600), None)))
        reader.start()
        subscription.add(TOPIC, after="0")
        wait_until(lambda: len(got) == 300)
        publish(log, *range(300, 400))
        wait_until(lambda: len(got) == 400)
        subscription.close()
        reader.join(GUARD)
        wait_until(lambda: _pubsub_connections(client) == 0)
    assert numbers([event for event in got if event]) == list(range(400))


def test_greenlets_follow_and_close_subscriptions(redis_server: RedisServer) -> None:
    script = f"""
from gevent import monkey
monkey.patch_all()
import gevent
from jobs.engine import broker
from jobs.engine.events import EventLog
from jobs.settings import Settings
settings = Settings(environment="test", redis_url="{redis_server.url}")
log = EventLog(settings, broker.connect(settings))
subscriptions = [log.subscribe(["job:green"], tenant="acme") for _ in range(20)]
readers = [gevent.spawn(lambda each=each: [each.get(60), each.get(600)]) for each in subscriptions]
gevent.sleep(0)
log.publish("job:green", "job:started", {{}}, tenant="acme")
while log._redis().pubsub_numsub("rq:events:acme:job:green")[0][1] < 20:
    gevent.sleep(0.01)
for each in subscriptions:
    each.add("job:other")
while log._redis().pubsub_numsub("rq:events:acme:job:other")[0][1] < 20:
    gevent.sleep(0.01)
for each in subscriptions:
    each.close()
gevent.joinall(readers, timeout=30, raise_error=True)
for reader in readers:
    first, second = reader.value
    assert first.name == "job:started" and second is None
while log._redis().client_list(_type="pubsub"):
    gevent.sleep(0.01)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)


def test_one_connection_serves_all_topics_of_a_subscription(log: EventLog, client: redis.Redis) -> None:
    before = _pubsub_connections(client)
    topics = [f"job:{number}" for number in range(50)]
    with log.subscribe(topics, tenant="acme") as subscription:
        for number, topic in enumerate(topics):
            publish(log, number, topic=topic)
        assert sorted(numbers(take(subscription, 50))) == list(range(50))
        assert _pubsub_connections(client) == before + 1


def test_what_others_write_into_a_stream_or_channel_is_passed_over(log: EventLog, client: redis.Redis) -> None:
    key = f"rq:events:{stream_suffix('acme', TOPIC)}"
    client.xadd(key, {"event": "job:progress", "data": "not json"})
    client.xadd(key, {"something": "else"})
    client.xadd(key, {"event": "Evil Name", "data": "{}"})
    client.xadd(key, {"event": "job:progress", "data": "[1]"})
    with log.subscribe([TOPIC], tenant="acme", after={TOPIC: "0"}) as subscription:
        publish(log, 1)
        assert numbers(take(subscription, 1)) == [1]
        for message in (b"", b"x", b"x y z", b"1-1 job:progress", b"\xff\xfe 1 2", b"99999999999999999999999-0 a {}"):
            client.publish(key, message)
        publish(log, 2)
        assert numbers(take(subscription, 1)) == [2]


def test_scripts_emit_on_every_topic_they_are_told(log: EventLog, client: redis.Redis) -> None:
    topics = ",".join(stream_suffix("acme", topic) for topic in ("job:a", "workspace:b"))
    script("publish")(client, "rq", topics, "job:queued", job_data("a", "documents.ingest", 0))
    for topic in ("job:a", "workspace:b"):
        [event] = log.read(topic, tenant="acme")
        assert event.data == {"job_id": "a", "type": "documents.ingest", "attempt": 0}


def test_a_factory_of_clients_is_asked_only_when_needed(settings: Settings, client: redis.Redis) -> None:
    asked: list[int] = []

    def factory() -> redis.Redis:
        asked.append(1)
        return client

    log = EventLog(settings, factory)
    assert asked == []
    publish(log, 1)
    assert asked == [1]


@pytest.mark.parametrize("call", ["subscribe", "add"])
def test_a_subscription_is_bounded(log: EventLog, call: str) -> None:
    topics = [f"job:{number}" for number in range(1001)]
    first = topics if call == "subscribe" else topics[:1000]
    with pytest.raises(ValueError, match="1000"), log.subscribe(first, tenant="acme") as subscription:
        subscription.add(topics[-1])
