"""Three schedulers under random faults of theirs and of Redis': still each second has its run, once and in order."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import redis

from jobs.engine import Fleet
from jobs.engine.scheduler import names
from tests.conftest import RedisServer, wait_until
from tests.engine.scheduler.conftest import waiting
from tests.engine.scheduler.test_failover import each_second_once, leads, times, until_runs
from tests.engine.scheduler.test_failover import lasting_fleet as lasting_fleet

Process = subprocess.Popen[bytes]
LASTS = 60.0


class Faults:
    """What can be done to schedulers and their Redis."""

    def __init__(self, start: Callable[[], Process], client: redis.Redis, server: RedisServer, seed: int) -> None:
        self.rng, self.start, self.client, self.server = random.Random(seed), start, client, server
        self.herd = [start() for _ in range(3)]

    def happen(self) -> None:
        """One of them."""
        faults = [
            self.kill_one,
            self.kill_all,
            self.stop_leader,
            self.kill_redis,
            self.stop_redis,
            self.steal,
            self.free,
        ]
        with suppress(redis.RedisError):
            self.rng.choice(faults)()

    def kill_one(self) -> None:
        victim = self.herd.pop(self.rng.randrange(3))
        victim.kill()
        self.herd.append(self.start())

    def kill_all(self) -> None:
        for each in self.herd:
            each.kill()
        self.herd = [self.start() for _ in self.herd]

    def stop_leader(self) -> None:
        self.stop(next((each for each in self.herd if leads(self.client, each)), self.herd[0]), 5)

    def kill_redis(self) -> None:
        self.server.stop(signal.SIGKILL)
        time.sleep(self.rng.uniform(0, 3))
        self.server.start()

    def stop_redis(self) -> None:
        assert self.server.process is not None
        self.stop(self.server.process, 4)

    def steal(self) -> None:
        self.client.set(names.LEAD, "somebody else", px=2000)

    def free(self) -> None:
        self.client.delete(names.LEAD)

    def stop(self, process: Process, longest: float) -> None:
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.5, longest))
        process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_each_second_has_its_run_whatever_happens(
    start_scheduler: Callable[..., Process],
    lasting_fleet: Fleet,
    lasting_redis: RedisServer,
    request: pytest.FixtureRequest,
) -> None:
    seed = request.config.getoption("--chaos-seed") or random.randrange(10**6)
    client = lasting_fleet.redis
    faults = Faults(
        lambda: start_scheduler("reports.often=1", REDIS_URL=lasting_redis.url), client, lasting_redis, seed
    )
    wait_until(lambda: waiting(client))
    began, done = time.monotonic(), 0
    while time.monotonic() - began < LASTS:
        faults.happen()
        done += 1
        time.sleep(faults.rng.uniform(0.1, 3))
    until_runs(client, 3)
    request.node.user_properties.append(("chaos", f"seed {seed}, {done} faults, {len(waiting(client))} runs"))
    assert each_second_once(times(client)), f"--chaos-seed {seed}"
