"""Each time is run once, and none is left out, whatever happens to schedulers, their clocks, Redis and its replies."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Queue, connect, keys
from jobs.engine.scheduler import FleetScheduler, names
from jobs.engine.scheduler.fleet_scheduler import INTERVAL
from jobs.engine.scheduler.json_bound import JsonQueue
from jobs.engine.scheduler.leadership import LIFE
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, wait_until
from tests.engine.lossy_proxy import LossyProxy
from tests.engine.scheduler.conftest import declare, entries, waiting

SECOND = timedelta(seconds=1)
ENTRY = "periodic-reports-often"
Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture
def lasting_fleet(settings: Settings, lasting_redis: RedisServer) -> Iterator[Fleet]:
    fleet = connect(settings.model_copy(update={"redis_url": lasting_redis.url}))
    yield fleet
    fleet.close()


def leads(client: redis.Redis, process: Process) -> bool:
    return f".{process.pid}.".encode() in (client.get(names.LEAD) or b"")


def times(client: redis.Redis) -> list[datetime]:
    """The times of the runs that were enqueued, in their order."""
    stamps = [run.removeprefix(f"{ENTRY}-") for run in waiting(client)]
    return [datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for stamp in stamps]


def until_runs(client: redis.Redis, more: int) -> None:
    """Wait for so many further runs."""
    before = len(waiting(client))
    wait_until(lambda: len(waiting(client)) >= before + more)


def each_second_once(found: list[datetime]) -> bool:
    return {later - earlier for earlier, later in pairwise(found)} == {SECOND}


def test_the_other_leads_once_the_lock_of_a_killed_leader_is_out_and_goes_on_with_the_next_run(
    start_scheduler: Start, fleet: Fleet
) -> None:
    first = start_scheduler("reports.often=1")
    wait_until(lambda: leads(fleet.redis, first) and len(waiting(fleet.redis)) >= 1)
    second = start_scheduler("reports.often=1")
    wait_until(lambda: fleet.redis.zcard(names.SCHEDULERS) == 2)
    leader, other = (first, second) if leads(fleet.redis, first) else (second, first)
    owner = wait_until(lambda: leads(fleet.redis, leader) and fleet.redis.get(names.LEAD))
    leader.kill()
    leader.wait(30)
    locks = [names.LEAD, *(f"{keys.PREFIX}:scheduler-lock:{queue}" for queue in Queue)]
    assert max(fleet.redis.pttl(lock) for lock in locks) <= LIFE / timedelta(milliseconds=1)
    assert timedelta(seconds=5) >= LIFE + INTERVAL, "the promise: what a lock lives and how long the other rests"
    made = len(waiting(fleet.redis))
    until_runs(fleet.redis, 2)
    wait_until(lambda: leads(fleet.redis, other))
    assert fleet.redis.get(names.LEAD) != owner
    assert len(waiting(fleet.redis)) >= made + 2
    assert each_second_once(times(fleet.redis))
    assert fleet.redis.hget(keys.schedule(ENTRY), "missed") is None


@pytest.mark.slow
def test_leaders_are_killed_and_the_other_takes_over(start_scheduler: Start, fleet: Fleet) -> None:
    herd = [start_scheduler("reports.often=1") for _ in range(2)]
    wait_until(lambda: fleet.redis.zcard(names.SCHEDULERS) == 2)
    for _ in range(8):
        leader = wait_until(lambda: next((each for each in herd if leads(fleet.redis, each)), None))
        until_runs(fleet.redis, 1)
        leader.kill()
        herd.remove(leader)
        assert fleet.redis.pttl(names.LEAD) <= 3000
        wait_until(lambda: leads(fleet.redis, herd[0]))
        herd.append(start_scheduler("reports.often=1"))
        until_runs(fleet.redis, 2)
    assert each_second_once(times(fleet.redis))


def test_a_leader_that_was_stopped_past_its_lock_wakes_up_and_stands_by(start_scheduler: Start, fleet: Fleet) -> None:
    stopped = start_scheduler("reports.often=1")
    wait_until(lambda: leads(fleet.redis, stopped))
    other = start_scheduler("reports.often=1")
    wait_until(lambda: fleet.redis.zcard(names.SCHEDULERS) == 2)
    stopped.send_signal(signal.SIGSTOP)
    wait_until(lambda: leads(fleet.redis, other))
    stopped.send_signal(signal.SIGCONT)
    until_runs(fleet.redis, 3)
    assert leads(fleet.redis, other)
    assert stopped.poll() is None
    assert each_second_once(times(fleet.redis))


def test_redis_is_killed_and_started_again_under_both(
    start_scheduler: Start, lasting_fleet: Fleet, lasting_redis: RedisServer
) -> None:
    client = lasting_fleet.redis
    for _ in range(2):
        start_scheduler("reports.often=1", REDIS_URL=lasting_redis.url)
    wait_until(lambda: len(waiting(client)) >= 2)
    lasting_redis.stop(signal.SIGKILL)
    lasting_redis.start()
    until_runs(client, 3)
    assert each_second_once(times(client))


def test_a_redis_that_comes_back_empty_is_told_from_where_to_go_on(
    start_scheduler: Start, settings: Settings, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path)
    fleet = connect(settings.model_copy(update={"redis_url": server.url}))
    process = start_scheduler("reports.often=1", REDIS_URL=server.url)
    wait_until(lambda: len(waiting(fleet.redis)) >= 2)
    process.send_signal(signal.SIGSTOP)
    before = times(fleet.redis)[-1]
    server.stop(signal.SIGKILL)
    server.start()
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: len(waiting(fleet.redis)) >= 3)
    assert times(fleet.redis)[0] <= before + SECOND
    assert each_second_once(times(fleet.redis))
    fleet.close()
    server.stop(signal.SIGKILL)


def test_one_of_two_schedulers_is_killed_whose_hosts_clocks_are_minutes_apart(
    start_scheduler: Start, fleet: Fleet
) -> None:
    path = f"{ROOT / 'tests/chaos/shifted_clock'}:{ROOT}"
    ahead = start_scheduler("reports.often=1", PYTHONPATH=path, CLOCK_SHIFT="120")
    behind = start_scheduler("reports.often=1", PYTHONPATH=path, CLOCK_SHIFT="-120")
    wait_until(lambda: fleet.redis.zcard(names.SCHEDULERS) == 2 and len(waiting(fleet.redis)) >= 1)
    leader, other = (ahead, behind) if leads(fleet.redis, ahead) else (behind, ahead)
    delayed = [declare("greetings.send").enqueue_in(n * SECOND, {}, priority="low") for n in (0, 2, 4)]
    leader.kill()
    assert fleet.redis.pttl(names.LEAD) <= 3000
    wait_until(lambda: leads(fleet.redis, other))
    wait_until(lambda: len(waiting(fleet.redis, "low")) == 3)
    until_runs(fleet.redis, 1)
    assert each_second_once(times(fleet.redis))
    now = datetime.fromtimestamp(fleet.redis.time()[0], UTC)
    assert abs(now - times(fleet.redis)[-1]) < timedelta(seconds=60)
    for job in delayed:
        moved = fleet.jobs.get(job.id)
        assert moved.enqueued_at is not None
        assert job.scheduled_for is not None
        assert job.scheduled_for <= moved.enqueued_at < job.scheduled_for + timedelta(seconds=60)


def test_a_new_release_starts_beside_the_old_one(start_scheduler: Start, fleet: Fleet) -> None:
    old = start_scheduler("reports.changed=3600", "reports.removed=3600")
    wait_until(lambda: leads(fleet.redis, old) and len(entries(fleet.redis)) == 2)
    new = start_scheduler("reports.changed=60", "reports.added=3600")
    wait_until(lambda: leads(fleet.redis, new) and "periodic-reports-added" in entries(fleet.redis))
    assert set(entries(fleet.redis)) == {"periodic-reports-changed", "periodic-reports-added"}
    assert fleet.schedules.get("reports.changed").every == timedelta(seconds=60)
    assert old.poll() is None


def test_a_stock_scheduler_beside_ours_runs_nothing_twice(
    start_scheduler: Start, spawn: Start, lasting_fleet: Fleet, lasting_redis: RedisServer
) -> None:
    client = lasting_fleet.redis
    ours = start_scheduler(REDIS_URL=lasting_redis.url)
    wait_until(lambda: leads(client, ours))
    queue = JsonQueue("reports", connection=client)
    ids = [queue.enqueue_in(timedelta(seconds=n / 20), "operator.add", 1, 2).id for n in range(40)]
    command = ("-m", "rq.cli", "worker", "--url", lasting_redis.url, "-S", "json", "--with-scheduler", "reports")
    stock = [spawn(*command) for _ in range(2)]
    wait_until(lambda: all(job.get_status() == "finished" for job in Job.fetch_many(ids, client, JSONSerializer)))
    for worker in stock:
        worker.terminate()
    for worker in stock:
        worker.wait(30)
    assert {client.xlen(keys.results(job_id)) for job_id in ids} == {1}
    assert {job.get_status() for job in Job.fetch_many(ids, client, JSONSerializer)} == {"finished"}
    assert waiting(client, "reports") == []


@pytest.mark.parametrize("loses", ["loses_request", "loses_reply"])
def test_what_a_transaction_was_answered_is_lost(settings: Settings, fleet: Fleet, loses: str) -> None:
    proxy = LossyProxy(fleet.redis.connection_pool.connection_kwargs["port"])
    far = connect(settings.model_copy(update={"redis_url": proxy.url}))
    leader = FleetScheduler(far, declared=lambda: [declare("reports.often", SECOND, overlap="queue")])
    turns = count()
    setattr(proxy, loses, lambda request, _: b"EXEC" in request and b"ZADD" in request and next(turns) % 2 == 0)

    def runs() -> bool:
        with suppress(redis.RedisError):
            leader.tick()
        return proxy.lost >= 3 and len(runs_of(fleet)) >= 3

    wait_until(runs)
    assert each_second_once(runs_of(fleet))
    far.close()
    proxy.close()


def runs_of(fleet: Fleet) -> list[datetime]:
    """The times of all runs, those that wait for others too."""
    filed = fleet.redis.lrange(keys.waiting("default", "limit:reports.often"), 0, -1)
    stamps = [run.removeprefix(f"{ENTRY}-") for run in [*waiting(fleet.redis), *(each.decode() for each in filed)]]
    return sorted(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for stamp in stamps)
