"""Following events while Redis restarts, hangs, forgets and drops connections: nothing missed, nothing twice."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
import redis

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.events import GAP, EventLog, stream_suffix
from jobs.engine.scripts import script
from jobs.settings import Settings
from tests.conftest import RedisServer, wait_until
from tests.engine.events.conftest import GUARD, TOPIC, numbers, publish, take


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
