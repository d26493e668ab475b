"""Following events: from an id on, over threads, greenlets and TLS, each connection freed at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis

from jobs.engine import broker
from jobs.engine.events import Event, EventLog, Events, stream_suffix
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, free_port, wait_until
from tests.engine.events.conftest import GUARD, TOPIC, numbers, publish, pubsub_connections, take
from tests.engine.redis_servers import make_certificates, running, tls_binary


def test_a_subscription_begins_with_the_call_and_not_with_the_first_get(any_log: Events) -> None:
    publish(any_log, 1)
    with any_log.subscribe([TOPIC], tenant="acme") as subscription:
        publish(any_log, 2)
        assert numbers(take(subscription, 1)) == [2]
        publish(any_log, 3)
        assert numbers(take(subscription, 1)) == [3]
        assert subscription.get(0.05) is None


def test_a_client_that_was_away_resumes_from_the_last_id_it_saw(any_log: Events) -> None:
    ids = publish(any_log, *range(400))
    with any_log.subscribe([TOPIC], tenant="acme", after={TOPIC: ids[49]}) as subscription:
        publish(any_log, *range(400, 450))
        assert numbers(take(subscription, 400)) == list(range(50, 450))
        assert subscription.get(0.05) is None


def test_everything_kept_is_replayed_from_0(any_log: Events) -> None:
    publish(any_log, 1, 2)
    with any_log.subscribe([TOPIC], tenant="acme", after={TOPIC: "0"}) as subscription:
        assert numbers(take(subscription, 2)) == [1, 2]


def test_topics_are_added_and_removed_while_a_reader_waits(any_log: Events) -> None:
    publish(any_log, 1, topic="job:later")
    got: list[Event | None] = []
    with any_log.subscribe([], tenant="acme") as subscription:
        reader = threading.Thread(target=lambda: got.append(subscription.get(GUARD)))
        reader.start()
        subscription.add("job:later", after="0")
        reader.join(GUARD)
        assert numbers([event for event in got if event]) == [1]
        subscription.remove("job:later")
        publish(any_log, 2, topic="job:later")
        subscription.add("job:other")
        publish(any_log, 3, topic="job:other")
        assert numbers(take(subscription, 1)) == [3]
        subscription.add("job:later", after="0")
        assert numbers(take(subscription, 2)) == [1, 2]


def test_a_waiting_reader_hears_of_a_new_topic_at_once(log: EventLog, client: redis.Redis) -> None:
    before = pubsub_connections(client)
    with log.subscribe([], tenant="acme") as subscription:
        reader = threading.Thread(target=subscription.get, args=(600,))
        reader.start()
        wait_until(lambda: pubsub_connections(client) == before + 1)
        subscription.add(TOPIC)
        channel = f"rq:events:{stream_suffix('acme', TOPIC)}"
        wait_until(lambda: client.pubsub_numsub(channel)[0][1] == 1, timeout=8)  # the next ping would come after 10 s
    reader.join(GUARD)
    assert not reader.is_alive()


def test_nothing_of_a_removed_topic_comes_any_more(any_log: Events) -> None:
    publish(any_log, 1, 2, 3)
    with any_log.subscribe([TOPIC], tenant="acme", after={TOPIC: "0"}) as subscription:
        assert numbers(take(subscription, 1)) == [1]
        subscription.remove(TOPIC)
        assert subscription.get(0.05) is None
        subscription.remove(TOPIC)


def test_a_topic_that_is_left_and_followed_anew_is_replayed_in_order(any_log: Events) -> None:
    with any_log.subscribe([TOPIC], tenant="acme") as subscription:
        publish(any_log, 0)
        take(subscription, 1)
        publish(any_log, 1, 2, 3)
        subscription.remove(TOPIC)
        assert subscription.get(0) is None
        subscription.add(TOPIC, after="0")
        assert numbers(take(subscription, 4)) == [0, 1, 2, 3]
        assert subscription.get(0.05) is None


def test_closing_from_another_thread_wakes_the_reader_and_frees_the_connection(
    log: EventLog, client: redis.Redis
) -> None:
    got: list[Event | None] = []
    before = pubsub_connections(client)
    subscription = log.subscribe([TOPIC], tenant="acme")
    reader = threading.Thread(target=lambda: got.append(subscription.get(600)))
    reader.start()
    wait_until(lambda: pubsub_connections(client) == before + 1)
    subscription.close()
    reader.join(GUARD)
    assert got == [None]
    assert subscription.closed
    wait_until(lambda: pubsub_connections(client) == before)
    assert subscription.get(600) is None


def test_closing_between_two_gets_frees_the_connection(log: EventLog, client: redis.Redis) -> None:
    before = pubsub_connections(client)
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        assert subscription.get(0.01) is None
        assert pubsub_connections(client) == before + 1
    wait_until(lambda: pubsub_connections(client) == before)


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
        wait_until(lambda: pubsub_connections(client) == 0)
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
    before = pubsub_connections(client)
    topics = [f"job:{number}" for number in range(50)]
    with log.subscribe(topics, tenant="acme") as subscription:
        for number, topic in enumerate(topics):
            publish(log, number, topic=topic)
        assert sorted(numbers(take(subscription, 50))) == list(range(50))
        assert pubsub_connections(client) == before + 1


@pytest.mark.parametrize("call", ["subscribe", "add"])
def test_a_subscription_is_bounded(any_log: Events, call: str) -> None:
    topics = [f"job:{number}" for number in range(1001)]
    first = topics if call == "subscribe" else topics[:1000]
    with pytest.raises(ValueError, match="1000"), any_log.subscribe(first, tenant="acme") as subscription:
        subscription.add(topics[-1])
