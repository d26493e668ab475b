"""How events lie in Redis: ids of one clock that never goes back, lists that are capped and run out, few messages."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from jobs.engine import Fleet, keys, views
from jobs.engine.events import GAP, EventLog, stream_suffix
from jobs.engine.outcome import Outcome
from jobs.engine.scripts import script
from tests.conftest import wait_until
from tests.engine.events.conftest import TOPIC, numbers, publish, take
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples

CLOCK = "rq:fleet:event-clock"
KEY = f"rq:events:{stream_suffix('acme', TOPIC)}"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "JOB_MODULES": "tests.engine.samples"}


def parts(event_id: str) -> tuple[int, int]:
    milliseconds, number = event_id.split("-")
    return int(milliseconds), int(number)


def published(client: redis.Redis) -> int:
    """How many messages were sent to channels since the statistics were reset."""
    stats: dict[str, Any] = client.info("commandstats")
    return int(stats.get("cmdstat_publish", {"calls": 0})["calls"])


def test_ids_go_on_from_the_last_one_when_the_servers_clock_goes_back(log: EventLog, client: redis.Redis) -> None:
    """What a fail-over to a server whose clock is behind looks like too: the fleet's clock came with the data."""
    now, _ = client.time()
    ahead = (now + 3_600) * 1000
    client.set(CLOCK, f"{ahead}-7")
    ids = publish(log, *range(5)) + publish(log, 5, topic="job:other")
    assert [parts(each)[0] for each in ids] == [ahead] * 6
    assert sorted(ids, key=parts) == ids
    assert len({parts(each) for each in [*ids, f"{ahead}-7"]}) == 7
    assert numbers(log.read(TOPIC, tenant="acme", after=ids[1])) == [2, 3, 4]


def test_ids_follow_the_servers_clock_again_when_it_has_caught_up(log: EventLog, client: redis.Redis) -> None:
    client.set(CLOCK, "1000-999")
    now, _ = client.time()
    milliseconds, number = parts(publish(log, 1)[0])
    assert (milliseconds // 1000 - now <= 5, number) == (True, 0)


@pytest.mark.parametrize("nonsense", ["", "x", "1-", "-5"])
def test_a_clock_that_can_not_be_read_is_set_anew(log: EventLog, client: redis.Redis, nonsense: str) -> None:
    client.set(CLOCK, nonsense)
    assert publish(log, 1)
    client.delete(CLOCK)
    client.rpush(CLOCK, "no string")
    assert numbers(log.read(TOPIC, tenant="acme")) == [1] and publish(log, 2)


def test_a_call_may_emit_more_events_than_it_took_numbers_for(fleet: Fleet) -> None:
    views = samples.report.enqueue_many([{}] * 1200)
    ids = [
        entry.split(b" ")[0].decode() for entry in fleet.redis.lrange("rq:events::workspace:w1", 0, -1) if b" " in entry
    ]
    ids += [event.id for view in views[-3:] for event in fleet.events.read(f"job:{view.id}", tenant=None)]
    positions = [parts(each) for each in ids[:-3]]
    assert positions == sorted(set(positions))
    assert {parts(each) for each in ids[-3:]} == set(positions[-3:])


def test_what_was_trimmed_is_told_exactly(log: EventLog, client: redis.Redis) -> None:
    ids = publish(log, *range(1250))
    kept = [event.id for event in log.read(TOPIC, tenant="acme", after="0", count=2000)[1:]]
    assert 1000 <= len(kept) <= 1101
    assert kept == ids[-len(kept) :]
    last_gone = len(ids) - len(kept) - 1
    assert [event.id for event in log.read(TOPIC, tenant="acme", after=ids[last_gone], count=2000)] == kept
    assert log.read(TOPIC, tenant="acme", after=ids[last_gone - 1])[0].name == GAP
    assert log.read(TOPIC, tenant="acme", after="0")[0].name == GAP


def test_any_id_finds_what_follows_it_in_pages_of_any_size(log: EventLog) -> None:
    ids = publish(log, *range(130))
    for place in [0, 1, 63, 64, 127, 128, 129, *random.sample(range(130), 5)]:
        for count in (1, 7, 200):
            found = numbers(log.read(TOPIC, tenant="acme", after=ids[place], count=count))
            assert found == list(range(place + 1, 130))[:count]


def test_an_id_of_a_list_that_ran_out_is_answered_with_a_gap_when_a_new_one_began(
    log: EventLog, client: redis.Redis
) -> None:
    seen, _ = publish(log, 1, 2)
    client.delete(KEY)
    publish(log, 3)
    gap, event = log.read(TOPIC, tenant="acme", after=seen)
    assert (gap.name, event.data) == (GAP, {"n": 3})
    assert numbers(log.read(TOPIC, tenant="acme", after="0")) == [3]


def test_a_list_of_nothing_but_nonsense_is_read_to_its_end(log: EventLog, client: redis.Redis) -> None:
    client.rpush(KEY, *["nonsense"] * 250)
    with log.subscribe([TOPIC], tenant="acme", after={TOPIC: "0"}) as subscription:
        assert subscription.get(0.05) is None
        publish(log, 1)
        assert numbers(take(subscription, 1)) == [1]


def test_what_lies_there_from_an_earlier_release_is_no_event_and_makes_room(log: EventLog, client: redis.Redis) -> None:
    old = client.xadd(KEY, {"event": "job:started", "data": "{}"}).decode()
    assert [event.name for event in log.read(TOPIC, tenant="acme", after=old)] == [GAP]
    with log.subscribe([TOPIC], tenant="acme") as subscription:
        publish(log, 1)
        assert numbers(take(subscription, 1)) == [1]
    assert 3_500 < client.ttl(KEY) <= 3_600


def test_every_list_runs_out_whatever_came_first(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    views = samples.report.enqueue_many([{}] * 3)
    topics = ["rq:events::workspace:w1", *(f"rq:events::job:{view.id}" for view in views)]
    fleet.redis.delete(*topics)
    runs = lease(leases, 3)
    assert [fleet.redis.llen(key) for key in topics] == [3, 1, 1, 1]
    assert all(3_500 < fleet.redis.ttl(key) <= 3_600 for key in topics)
    for key in topics:
        fleet.redis.expire(key, 5)
    for view in views:
        fleet.redis.hset(keys.job(view.id), "enqueued_at", "2026-01-01T00:00:00.000000Z")
    assert settle(leases, *((run, Outcome("finished", value="null")) for run in runs)) == ["ok"] * 3
    assert all(3_500 < fleet.redis.ttl(key) <= 3_600 for key in topics)


def test_the_end_of_a_job_that_has_just_been_enqueued_leaves_its_list_the_hour_it_has(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    soon, anew = samples.double.enqueue_many([{}] * 2)
    runs = lease(leases, 2)
    fleet.redis.expire(f"rq:events::job:{soon.id}", 3_000)
    fleet.redis.delete(f"rq:events::job:{anew.id}")
    for view in (soon, anew):  # should ten minutes be over just now
        fleet.redis.hset(keys.job(view.id), "enqueued_at", views.rfc3339(datetime.now(UTC)))
    assert settle(leases, *((run, Outcome("finished", value="null")) for run in runs)) == ["ok"] * 2
    assert 2_900 < fleet.redis.ttl(f"rq:events::job:{soon.id}") <= 3_600
    assert 3_500 < fleet.redis.ttl(f"rq:events::job:{anew.id}") <= 3_600


def heard(listener: Any, count: int) -> list[tuple[str, str]]:
    """Channel and event of the next messages."""
    messages = [listener.get_message(timeout=10) for _ in range(count)]
    return [(each["channel"].decode(), each["data"].split(b" ")[1].decode()) for each in messages if each]


def test_no_message_is_sent_where_nobody_listens(fleet: Fleet, client: redis.Redis) -> None:
    leases = leases_of(fleet)
    jobs = [fleet.client.prepare(samples.double, [{}], options={"job_id": f"j{n}"})[0] for n in range(20)]
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("rq:events::job:j7")
        wait_until(lambda: client.pubsub_numsub("rq:events::job:j7")[0][1])
        client.config_resetstat()
        fleet.client.send(jobs)
        assert published(client) == 1
        settle(leases, *((run, Outcome("finished", value="null")) for run in lease(leases, 20)))
        assert published(client) == 3
        listener.get_message(timeout=10)
        assert [name for _, name in heard(listener, 3)] == ["job:queued", "job:started", "job:completed"]


def test_who_listens_by_pattern_hears_everything(fleet: Fleet, client: redis.Redis) -> None:
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe("rq:events:*")
        wait_until(client.pubsub_numpat)
        listener.get_message(timeout=10)
        views = samples.double.enqueue_many([{}] * 20)
        assert heard(listener, 20) == [(f"rq:events::job:{view.id}", "job:queued") for view in views]


def test_what_a_call_emitted_before_it_broke_off_is_told(fleet: Fleet, client: redis.Redis) -> None:
    types = (samples.only_one, samples.gate, samples.gate, gated.pair)
    new = [fleet.client.prepare(each, [{"folder": "/tmp"}])[0] for each in types]
    channels = [f"rq:events::job:{each.id}" for each in new]
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(*channels)
        wait_until(lambda: client.pubsub_numsub(channels[-1])[0][1])
        for _ in channels:
            listener.get_message(timeout=10)
        fleet.redis.set(keys.held("limit:samples.pair"), "no set")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            fleet.client.send(new)
        assert [channel for channel, _ in heard(listener, 3)] == channels[:3]


def test_one_call_after_the_other_never_gives_an_id_twice(client: redis.Redis) -> None:
    topic = stream_suffix("acme", TOPIC)
    with client.pipeline(transaction=False) as pipe:
        script("publish")(client, "rq", topic, "job:progress", "{}")
        for _ in range(300):
            pipe.evalsha(script("publish").sha, 0, "rq", topic, "job:progress", "{}")
        ids = [parts(each.decode()) for each in pipe.execute()]
    assert ids == sorted(set(ids))


def run_all(fleet: Fleet, count: int) -> None:
    """Begin and finish so many jobs, in one call each."""
    leases = leases_of(fleet)
    settle(leases, *((run, Outcome("finished", value="null")) for run in lease(leases, count)))


def test_the_events_of_jobs_that_are_dropped_by_count_go_a_minute_later(fleet: Fleet) -> None:
    views = samples.double.enqueue_many([{}] * 8)
    run_all(fleet, 8)
    dropped = [view.id for view in views if not fleet.redis.exists(keys.job(view.id))]
    left = {view.id: fleet.redis.ttl(f"rq:events::job:{view.id}") for view in views}
    assert len(dropped) == 3
    assert all((0 < seconds <= 60) == (job_id in dropped) for job_id, seconds in left.items())
    assert [event.name for event in fleet.events.read(f"job:{dropped[0]}", tenant=None)][-1] == "job:completed"


def test_a_job_that_is_not_kept_shows_its_end_for_a_minute(fleet: Fleet) -> None:
    view = samples.forgotten.enqueue({})
    run_all(fleet, 1)
    assert not fleet.redis.exists(keys.job(view.id))
    names = [event.name for event in fleet.events.read(f"job:{view.id}", tenant=None)]
    assert names == ["job:queued", "job:started", "job:completed"]
    assert 50 < fleet.redis.ttl(f"rq:events::job:{view.id}") <= 60
    assert 3_500 < fleet.redis.ttl("rq:events::workspace:w1") <= 3_600


def test_a_jobs_own_events_are_kept_no_longer_than_the_job(fleet: Fleet) -> None:
    view = samples.brief.enqueue({})
    run_all(fleet, 1)
    assert 500 < fleet.redis.ttl(f"rq:events::job:{view.id}") <= 600
    assert 3_500 < fleet.redis.ttl("rq:events::workspace:w1") <= 3_600


def test_topics_that_are_not_the_jobs_own_are_not_forgotten_with_it(fleet: Fleet) -> None:
    views = samples.double.enqueue_many([{}] * 6)
    for view in views:
        fleet.redis.hset(keys.job(view.id), "topics", ":workspace:shared")
    run_all(fleet, 6)
    assert sum(fleet.redis.exists(keys.job(view.id)) for view in views) == 5
    assert fleet.redis.ttl("rq:events::workspace:shared") > 3_500
