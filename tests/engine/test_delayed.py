"""Delayed jobs as operators see them: next first over all queues, by cursor and filter, with Redis and without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.adapters.database import migrate
from jobs.engine import Fleet, NotFound, Queue, keys, registry
from jobs.engine.delayed import DelayedWhere
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from jobs.settings import Settings
from tests.engine.leases import lease, leases_of, settle

MINUTE = timedelta(minutes=1)
NO_REDIS = {"USE_JOB_QUEUE": "false", "REDIS_URL": "redis://127.0.0.1:9/0"}
BOTH = pytest.mark.parametrize("environ", ["redis", "no redis"], indirect=True)


@pytest.fixture
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    return environ | NO_REDIS if getattr(request, "param", "redis") == "no redis" else environ


@pytest.fixture
def fleet(fleet: Fleet, settings: Settings) -> Fleet:
    if not fleet.has_broker:
        migrate(settings)
    return fleet


def pages(fleet: Fleet, where: DelayedWhere | None = None, tenant: str | None = None, limit: int = 2) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = fleet.delayed.find(where or DelayedWhere(), limit=limit, cursor=cursor, tenant=tenant)
        assert len(page.items) <= limit
        found += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


@BOTH
def test_jobs_are_listed_by_when_they_are_due_whatever_their_queue(fleet: Fleet) -> None:
    now = datetime.now(UTC)
    later = registry.get("mortal.orders")
    whens = [9, 2, 7, 4, 4, 4, 1]
    jobs = [
        later.enqueue_at(now + when * MINUTE, {"folder": str(n)}, tenant="ours" if n % 2 else "theirs",
                         priority=list(Queue)[n % 3])
        for n, when in enumerate(whens)
    ]  # fmt: skip
    expected = [job.id for job in sorted(jobs, key=lambda job: (whens[jobs.index(job)], job.id))]
    assert pages(fleet) == expected
    assert pages(fleet, limit=50) == expected
    assert sum(fleet.delayed.counts().values()) == 7
    first = fleet.delayed.find().items[0]
    assert (first.id, first.reason, first.type, first.queue) == (jobs[6].id, "delayed", later.name, jobs[6].queue)
    assert abs(first.due - (now + MINUTE)) < timedelta(seconds=1)


@BOTH
def test_filters_and_tenants_narrow_the_list(fleet: Fleet) -> None:
    later = registry.get("mortal.orders")
    mine = [later.enqueue_in(n * MINUTE, {"folder": "a"}, tenant="ours").id for n in (1, 3)]
    theirs = later.enqueue_in(2 * MINUTE, {"folder": "a"}, tenant="theirs", priority=Queue.LOW).id
    assert pages(fleet, tenant="ours") == mine
    with pytest.raises(NotFound):
        fleet.delayed.find(DelayedWhere(tenant="theirs"), tenant="ours")
    assert pages(fleet, DelayedWhere(queue="low")) == [theirs]
    assert pages(fleet, DelayedWhere(type="no.such")) == []


def test_retries_are_told_from_first_runs_and_plain_rq_jobs_are_listed_too(fleet: Fleet) -> None:
    retried = fleet.enqueue("mortal.orders", {"folder": "a"}, tenant="ours")
    (run,) = lease(leases_of(fleet))
    slow = Retry(max_retries=3, first=MINUTE)
    settle(leases_of(fleet), (run, of_error(OSError("disk"), slow, 1)))
    RQQueue("elsewhere", connection=fleet.redis, serializer=JSONSerializer).enqueue_in(9 * MINUTE, "os.getcwd")
    own, foreign = fleet.delayed.find().items
    assert (own.id, own.reason, own.attempts) == (retried.id, "retry", 1)
    assert own.error is not None
    assert (foreign.queue, foreign.reason, foreign.tenant) == ("elsewhere", "delayed", "")


def test_what_rqs_tools_cancelled_or_deleted_is_not_listed(fleet: Fleet) -> None:
    later = registry.get("mortal.orders")
    kept, deleted, cancelled = (later.enqueue_in(MINUTE, {"folder": "a"}).id for _ in range(3))
    fleet.redis.delete(keys.job(deleted))
    fleet.redis.hset(keys.job(cancelled), "status", "canceled")
    assert pages(fleet) == [kept]


def test_a_page_looks_at_so_many_and_no_more(fleet: Fleet) -> None:
    later = registry.get("mortal.orders")
    wanted = later.enqueue_in(timedelta(days=2), {"folder": "a"}, tenant="ours").id
    others = {f"job-{number}": 4e9 + number for number in range(3000)}
    fleet.redis.zadd(keys.registry("scheduled", "low"), {name: score - 3.9e9 for name, score in others.items()})
    page = fleet.delayed.find(tenant="ours")
    assert (page.items, page.next_cursor is not None) == ([], True)
    assert [job.id for job in fleet.delayed.find(tenant="ours", cursor=page.next_cursor).items] == [wanted]
