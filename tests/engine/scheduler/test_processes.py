"""Schedulers as processes: killed, side by side, told to stop, and with Redis going away under them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from jobs.engine import Fleet, connect, keys
from jobs.engine.scheduler import names
from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import of_text
from jobs.settings import Settings
from tests.conftest import RedisServer, wait_until
from tests.engine.scheduler.conftest import declare, entries, waiting

Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture
def own_fleet(settings: Settings, own_redis: RedisServer) -> Iterator[Fleet]:
    fleet = connect(settings.model_copy(update={"redis_url": own_redis.url}))
    yield fleet
    fleet.close()


def leader(client: redis.Redis) -> bytes | None:
    return client.get(names.LEAD)


def leads(client: redis.Redis, process: Process) -> Callable[[], bool]:
    return lambda: f".{process.pid}.".encode() in (leader(client) or b"")


def alive(client: redis.Redis) -> int:
    return client.zcard(names.SCHEDULERS)


def test_delayed_jobs_run_not_before_their_time_and_each_once_though_leaders_are_killed(
    start_scheduler: Start, fleet: Fleet
) -> None:
    first = start_scheduler()
    wait_until(leads(fleet.redis, first))
    second = start_scheduler()
    wait_until(lambda: alive(fleet.redis) == 2)
    greet = declare("greetings.send")
    views = [greet.enqueue_in(timedelta(seconds=n / 20), {}) for n in range(100)]
    wait_until(lambda: len(waiting(fleet.redis)) > 10)
    first.kill()
    wait_until(leads(fleet.redis, second))
    wait_until(lambda: len(waiting(fleet.redis)) >= 100)
    assert sorted(waiting(fleet.redis)) == sorted(view.id for view in views)
    for now, before in zip(fleet.jobs.get_many([view.id for view in views]), views, strict=True):
        assert now is not None
        assert now.enqueued_at is not None
        assert before.scheduled_for is not None
        assert now.enqueued_at >= before.scheduled_for
    assert second.poll() is None


def test_a_restart_with_other_declarations_replaces_the_entries(start_scheduler: Start, fleet: Fleet) -> None:
    first = start_scheduler("reports.changed=3600", "reports.removed=3600")
    wait_until(lambda: len(entries(fleet.redis)) == 2)
    first.terminate()
    assert first.wait(30) == 0
    start_scheduler("reports.changed=60", "reports.added=3600")
    wait_until(lambda: "periodic-reports-added" in entries(fleet.redis))
    assert set(entries(fleet.redis)) == {"periodic-reports-changed", "periodic-reports-added"}
    told = fleet.redis.hget(keys.job("periodic-reports-changed"), "schedule") or b""
    assert of_text(told).times == Every(timedelta(seconds=60))


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_signs_off_and_frees_its_locks(start_scheduler: Start, fleet: Fleet, sig: int) -> None:
    process = start_scheduler()
    wait_until(leads(fleet.redis, process))
    process.send_signal(sig)
    assert process.wait(30) == 0
    assert fleet.redis.keys("*lock*") == []
    assert alive(fleet.redis) == 0


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
def test_told_to_stop_while_redis_is_away_it_ends(
    start_scheduler: Start, own_fleet: Fleet, own_redis: RedisServer, sig: int
) -> None:
    process = start_scheduler(REDIS_URL=own_redis.url)
    wait_until(leads(own_fleet.redis, process))
    assert own_redis.process is not None
    own_redis.process.send_signal(sig)
    process.terminate()
    assert process.wait(30) == 0


def test_a_redis_that_was_killed_and_came_back_empty_is_scheduled_again(
    start_scheduler: Start, own_fleet: Fleet, own_redis: RedisServer
) -> None:
    process = start_scheduler("reports.hourly=3600", REDIS_URL=own_redis.url)
    wait_until(lambda: entries(own_fleet.redis))
    own_redis.stop(signal.SIGKILL)
    wait_until(lambda: b"scheduling failed" in output(process))
    own_redis.start()
    wait_until(lambda: entries(own_fleet.redis))
    due = declare("greetings.send").enqueue_in(timedelta(0), {})
    wait_until(lambda: waiting(own_fleet.redis) == [due.id])
    assert process.poll() is None


def test_a_redis_that_hangs_for_a_while_is_waited_for(
    start_scheduler: Start, own_fleet: Fleet, own_redis: RedisServer
) -> None:
    process = start_scheduler(REDIS_URL=own_redis.url)
    due = declare("greetings.send").enqueue_in(timedelta(seconds=3), {})
    wait_until(leads(own_fleet.redis, process))
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: b"scheduling failed" in output(process))
    own_redis.process.send_signal(signal.SIGCONT)
    wait_until(lambda: waiting(own_fleet.redis) == [due.id])
    assert process.poll() is None


def output(process: Process) -> bytes:
    return Path(f"/proc/{process.pid}/fd/1").resolve().read_bytes()
