"""Events on a real Redis: kept, read back, nothing of another tenant."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import redis

from jobs.engine.events import GAP, EventLog, Events, job_data, stream_suffix
from jobs.engine.scripts import script
from jobs.settings import Settings
from tests.engine.events.conftest import TOPIC, numbers, publish, take


def test_a_published_event_is_kept_and_read_back(any_log: Events) -> None:
    event_id = any_log.publish(TOPIC, "job:started", {"job_id": "abc", "text": "ü 1 2\n"}, tenant="acme")
    [event] = any_log.read(TOPIC, tenant="acme")
    assert (event.id, event.topic, event.name, event.data) == (
        event_id,
        TOPIC,
        "job:started",
        {"job_id": "abc", "text": "ü 1 2\n"},
    )
    as_dict = event.as_dict()
    assert as_dict.keys() == {"id", "topic", "event", "data", "at"}
    assert as_dict["at"].endswith("Z")


def test_reading_goes_on_after_an_id_page_by_page(any_log: Events) -> None:
    ids = publish(any_log, *range(5))
    assert numbers(any_log.read(TOPIC, tenant="acme", count=2)) == [0, 1]
    assert numbers(any_log.read(TOPIC, tenant="acme", after=ids[1], count=2)) == [2, 3]
    assert numbers(any_log.read(TOPIC, tenant="acme", after="0")) == [0, 1, 2, 3, 4]
    assert any_log.read(TOPIC, tenant="acme", after=ids[-1]) == []
    assert any_log.read(TOPIC, tenant="acme", after="$") == []


def test_a_list_is_capped_and_runs_out(log: EventLog, client: redis.Redis) -> None:
    publish(log, *range(1500))
    key = f"rq:events:{stream_suffix('acme', TOPIC)}"
    assert 1000 <= client.llen(key) < 1200
    assert 3_500 < client.ttl(key) <= 3_600


def test_two_tenants_never_see_each_other(any_log: Events) -> None:
    strange = ["acme", "acme:job", "a,b", "ac*me", "", "%61cme", "{acme}", "acme\n", "ä", "=acme"]
    with ExitStack() as stack:
        subscriptions = [stack.enter_context(any_log.subscribe([TOPIC], tenant=tenant)) for tenant in strange]
        for number, tenant in enumerate(strange):
            publish(any_log, number, tenant=tenant)
        for number, (tenant, subscription) in enumerate(zip(strange, subscriptions, strict=True)):
            assert numbers(any_log.read(TOPIC, tenant=tenant)) == [number]
            assert numbers(take(subscription, 1)) == [number]
            assert subscription.get(0.02) is None


@pytest.mark.parametrize(
    "topic", ["", "job", "job:", "job:a:b", "JOB:a", "job:a,b", "job:a b", "job:" + "a" * 129, "job:ä"]
)
def test_a_malformed_topic_is_refused(any_log: Events, topic: str) -> None:
    for call in (
        lambda: publish(any_log, 1, topic=topic),
        lambda: any_log.read(topic, tenant="acme"),
        lambda: any_log.subscribe([topic], tenant="acme"),
    ):
        with pytest.raises(ValueError, match="topic"):
            call()


@pytest.mark.parametrize("event_id", ["", "x", "1-", "-1", "1-1-1", "+", "(1-0", "1 -0", "9" * 19, "1-0\n", "\u0661-0"])
def test_a_malformed_event_id_is_refused(any_log: Events, event_id: str) -> None:
    with pytest.raises(ValueError, match="event id"):
        any_log.read(TOPIC, tenant="acme", after=event_id)
    with pytest.raises(ValueError, match="event id"):
        any_log.subscribe([TOPIC], tenant="acme", after={TOPIC: event_id})


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
def test_an_event_that_cannot_travel_is_refused(any_log: Events, name: str, data: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        any_log.publish(TOPIC, name, data, tenant="acme")
    assert any_log.read(TOPIC, tenant="acme") == []


def test_an_id_older_than_what_is_kept_is_answered_with_a_gap(any_log: Events) -> None:
    first, *_ = publish(any_log, *range(1500))
    gap, *rest = any_log.read(TOPIC, tenant="acme", after=first, count=2000)
    assert (gap.name, gap.data, gap.topic) == (GAP, {"after": first}, TOPIC)
    assert numbers(rest)[-1] == 1499
    with any_log.subscribe([TOPIC], tenant="acme", after={TOPIC: first}) as subscription:
        assert [event.name for event in take(subscription, 2)] == [GAP, "job:progress"]
    kept = rest[0].id
    assert GAP not in [event.name for event in any_log.read(TOPIC, tenant="acme", after=kept)]


def test_an_id_of_a_list_that_ran_out_or_began_anew_is_answered_with_a_gap(log: EventLog, client: redis.Redis) -> None:
    [seen] = publish(log, 1)
    client.delete(f"rq:events:{stream_suffix('acme', TOPIC)}")
    assert [event.name for event in log.read(TOPIC, tenant="acme", after=seen)] == [GAP]
    publish(log, 2)
    events = log.read(TOPIC, tenant="acme", after="999999999999999-0")
    assert [event.name for event in events] == [GAP, "job:progress"]


def test_what_others_write_into_a_list_or_channel_is_passed_over(log: EventLog, client: redis.Redis) -> None:
    key = f"rq:events:{stream_suffix('acme', TOPIC)}"
    strange = (
        b"",
        b"x",
        b"x y z",
        b"1-1 job:progress",
        b"1-2 Evil Name {}",
        b"1-3 a [1]",
        b"1-4 a no json",
        b"\xff \xfe 2",
    )
    client.rpush(key, *strange)
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
