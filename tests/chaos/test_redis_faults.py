"""Redis goes away, hangs, fills up, is demoted or forgets its scripts: no worker ends, and nothing runs again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.chaos.stage import Stage
from tests.conftest import free_port, wait_until

WORKERS = 2
MANY = 1000
RESUME_WITHIN = 15.0
"""Seconds; a hang guard: the promise is two, on a machine that is not busy with ten other tests."""


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "LEASE": "3"}


@contextmanager
def trouble(stage: Stage, kind: str) -> Iterator[None]:
    """The body does harm to Redis while clients and workers are at work; then all is well again, and judged."""
    stage.herd.start(WORKERS)
    stage.herd.until_ready(WORKERS)
    with stage.load(longest=1.0):
        stage.until_busy()
        with stage.fault(kind, repeats=False):
            yield
        stage.until_all_resume(RESUME_WITHIN)
    stage.judge()
    assert set(stage.herd.shut_down()) == {0}


def hold(seconds: float) -> None:
    """Let the trouble last."""
    time.sleep(seconds)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["restarted", "killed"])
def test_redis_is_restarted(stage: Stage, how: signal.Signals) -> None:
    with trouble(stage, f"redis {how.name}"):
        stage.server.stop(how)
        hold(1.0)
        stage.server.start()


def test_redis_is_restarted_with_a_thousand_jobs_in_flight(stage: Stage) -> None:
    """All of them run at once, and none ends while Redis is away."""
    slots = f"{MANY // WORKERS}"
    stage.herd.start(WORKERS, WORKER_CONCURRENCY=slots, DEFAULT_QUEUE_CONCURRENCY=slots, WORKER_THREADS="50")
    stage.herd.until_ready(WORKERS)
    stage.client().burst(MANY, 15.0)
    wait_until(lambda: stage.began() == MANY)
    with stage.fault("redis SIGTERM", repeats=False):
        stage.server.stop()
        hold(3.0)
        stage.server.start()
    stage.drain()
    assert len(stage.judge().runs) == MANY
    assert set(stage.herd.shut_down()) == {0}


@pytest.mark.slow
def test_redis_is_away_for_a_minute(stage: Stage) -> None:
    with trouble(stage, "redis SIGKILL"):
        stage.server.stop(signal.SIGKILL)
        hold(60.0)
        stage.server.start()


def test_redis_hangs_past_every_lease(stage: Stage) -> None:
    assert stage.server.process is not None
    with trouble(stage, "redis hangs"):
        stage.server.process.send_signal(signal.SIGSTOP)
        hold(4.5)
        stage.server.process.send_signal(signal.SIGCONT)


def test_every_connection_is_cut_again_and_again(stage: Stage) -> None:
    with trouble(stage, "connections cut"), redis.Redis(port=stage.server.port) as own:
        for _ in range(15):
            own.client_kill_filter(skipme=True)
            hold(0.2)


def test_redis_is_demoted_for_a_while(stage: Stage) -> None:
    with trouble(stage, "redis read-only"), redis.Redis(port=stage.server.port) as own:
        own.replicaof("127.0.0.1", free_port())
        hold(2.5)
        own.replicaof("NO", "ONE")


def test_redis_forgets_its_scripts_again_and_again(stage: Stage) -> None:
    with trouble(stage, "scripts flushed"), redis.Redis(port=stage.server.port) as own:
        for _ in range(300):
            own.script_flush("SYNC")
            hold(0.01)


def test_a_full_redis_is_drained_by_workers_that_were_there_and_by_new_ones(stage: Stage) -> None:
    stage.client().burst(400, 0.1)
    with trouble(stage, "redis full"), redis.Redis(port=stage.server.port) as own:
        own.config_set("maxmemory-policy", "noeviction")
        own.config_set("maxmemory", "1mb")
        (new,) = stage.herd.start()
        wait_until(lambda: stage.began(new.template) or new.process.poll() is not None)
        wait_until(lambda: not stage.look())
        own.config_set("maxmemory", "0")


def test_malformed_jobs_are_thrown_in(stage: Stage) -> None:
    with trouble(stage, "malformed jobs"), redis.Redis(port=stage.server.port) as own:
        for number in range(60):
            throw_in(own, f"malformed-{number}", number)
    assert stage.fleet.redis.zcard("rq:fleet:quarantine") >= 40


def throw_in(own: redis.Redis, name: str, number: int) -> None:
    """Something at the front of a queue that is no job that anybody could run."""
    key = f"rq:job:{name}"
    match number % 6:
        case 0:
            own.set(key, "no hash")
        case 1:
            own.hset(key, mapping={"status": "queued"})
        case 2:
            own.hset(key, mapping={"status": "queued", "data": b"\x80\x04\x95pickle", "origin": "default"})
        case 3:
            own.hset(key, mapping={"status": "queued", "data": '["os.system",null,["true"],{}]', "attempts": "x"})
        case 4:
            own.hset(key, mapping={"data": "x"})
        case 5:
            name = "no id: \xff\n"
    own.lpush("rq:queue:default", name)
