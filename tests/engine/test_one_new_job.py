"""A job enqueued alone takes a short way through the script; nobody can tell from what is written or answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from jobs.engine import Fleet, keys, new_jobs
from jobs.engine.events import stream_suffix
from jobs.engine.job_types import Options
from jobs.engine.new_jobs import NewJob
from jobs.engine.scripts import script
from tests.engine.rows import rows
from tests.engine.samples import jobs as samples

EVENTS = f"rq:events:{stream_suffix('t1', 'job:the-same')}"


def an_empty_fleet(fleet: Fleet) -> None:
    """Nothing is there."""


def a_queue_with_a_job(fleet: Fleet) -> None:
    fleet.redis.rpush(keys.queue("default"), "another")


def events_of_before(fleet: Fleet) -> None:
    fleet.redis.rpush(EVENTS, "1-1 job:finished {}")


def events_of_an_earlier_release(fleet: Fleet) -> None:
    fleet.redis.xadd(EVENTS, {"name": "job:finished"})


def no_events(fleet: Fleet) -> None:
    fleet.redis.set(EVENTS, "x")


def the_same_job(fleet: Fleet) -> None:
    fleet.redis.hset(keys.job("the-same"), "status", "finished")


def no_queue(fleet: Fleet) -> None:
    fleet.redis.set(keys.queue("default"), "x")


@pytest.mark.parametrize(
    "happens",
    [
        an_empty_fleet, a_queue_with_a_job, events_of_before, events_of_an_earlier_release, no_events, the_same_job,
        no_queue,
    ],
)  # fmt: skip
@pytest.mark.parametrize("at_front", [True, False])
def test_one_job_is_written_as_it_is_in_a_call_with_others(
    fleet: Fleet, happens: Callable[[Fleet], None], at_front: bool
) -> None:
    options: Options = {"job_id": "the-same", "at_front": at_front, "tenant": "t1"}
    kept: list[Any] = []
    for more in (b"", b"{}"):  # what has anything of its own goes the long way
        fleet.redis.flushdb()
        happens(fleet)
        (new,) = fleet.client.prepare(samples.double, [{}], options=options)
        listener = fleet.redis.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(EVENTS)
        assert listener.get_message(timeout=5) is None
        kept.append((sent(fleet, new._replace(more=more)), rows(fleet), told_live(fleet, listener)))
        kept.append((sent(fleet, new._replace(more=more)), rows(fleet)))
    assert kept[:2] == kept[2:]


def test_one_job_that_is_sent_again_is_told_to_be_known_and_changes_nothing(fleet: Fleet) -> None:
    (new,) = fleet.client.prepare(samples.double, [{}], options={"job_id": "the-same"})
    assert sent(fleet, new) == []
    before = rows(fleet)
    assert (sent(fleet, new), rows(fleet)) == ([1, 0, b"the-same"], before)


def sent(fleet: Fleet, new: NewJob) -> Any:
    """What the script answers, or why it does not."""
    try:
        return script("enqueue")(fleet.redis, keys.PREFIX, *new_jobs.arguments([new]))
    except redis.ResponseError as error:
        return str(error)


def told_live(fleet: Fleet, listener: Any) -> list[bytes]:
    """What was published, without the ids of events."""
    fleet.redis.publish(EVENTS, "0 no more")
    texts: list[bytes] = []
    while texts[-1:] != [b"no more"]:
        message = listener.get_message(timeout=5)
        texts += [message["data"].partition(b" ")[2]] if message else []
    listener.close()
    return texts


def test_one_job_is_sent_as_the_first_of_several_is(fleet: Fleet) -> None:
    several = fleet.client.prepare(samples.double, [{"value": 1}, {"value": 2}])
    assert new_jobs.arguments(several[:1]) == new_jobs.arguments(several)[:8]
