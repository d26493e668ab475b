"""Whatever dies, accepted jobs happen: kills of child, worker and both, stops past the lease, shutdowns, poison."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jobs.engine import Fleet, keys
from tests.conftest import RedisServer, wait_until
from tests.engine.conftest import gone, names_of_events, told, until_ended, until_told
from tests.engine.samples import hostile
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


def begin(fleet: Fleet, folder: Path, name: str = "job") -> tuple[str, int, int]:
    """Enqueue a gate and wait until it began: its id, its child's and its template's process id."""
    job = samples.gate.enqueue({"folder": str(folder), "name": name})
    _, child, template = until_told(folder, name=name)[0].split()
    return job.id, int(child), int(template)


def run_to_its_end(fleet: Fleet, folder: Path, job_id: str, begun: int = 2) -> None:
    """Wait until the job began again, let it through, and see that it ended once."""
    wait_until(lambda: len(told(folder)) >= begun)
    (folder / "job.go").touch()
    view = wait_until(lambda: v if (v := fleet.jobs.get(job_id)).ended else None)
    assert (view.status, view.result) == ("completed", "went through")
    assert told(folder).count("ended") == 1
    assert fleet.redis.zcard(keys.LEASES) == 0


def test_a_killed_child_costs_its_job_no_retry(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job_id, child, _ = begin(fleet, folder)
    os.kill(child, signal.SIGKILL)
    run_to_its_end(fleet, folder, job_id)
    assert fleet.jobs.get(job_id).attempts == 1


@pytest.mark.parametrize("whom", ["worker", "template", "all"])
def test_a_killed_worker_is_replaced_by_another(fleet: Fleet, spawn_worker: Spawn, folder: Path, whom: str) -> None:
    worker = spawn_worker()
    job_id, child, template = begin(fleet, folder)
    spawn_worker()
    for pid in {"worker": [worker.pid], "template": [template], "all": [worker.pid, template, child]}[whom]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(child))
    run_to_its_end(fleet, folder, job_id)
    assert fleet.jobs.get(job_id).attempts == 1


def test_children_die_with_their_worker(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker()
    _, child, template = begin(fleet, folder)
    worker.kill()
    worker.wait()
    wait_until(lambda: gone(child) and gone(template))


def test_a_worker_that_slept_past_its_lease_cannot_overwrite_the_second_run(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    sleeper = spawn_worker()
    job_id, child, _ = begin(fleet, folder)
    (first,) = fleet.redis.zrange(keys.LEASES, 0, -1)
    spawn_worker()
    os.kill(sleeper.pid, signal.SIGSTOP)
    wait_until(lambda: len(told(folder)) >= 2)
    (folder / "job.go").touch()
    view = wait_until(lambda: v if (v := fleet.jobs.get(job_id)).ended else None)
    settled = fleet.redis.hget(keys.job(job_id), "settled")
    os.kill(sleeper.pid, signal.SIGCONT)
    wait_until(lambda: gone(child) or sleeper.poll() is not None or told(folder).count("ended") == 2)
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert settled is not None
    assert settled.decode() not in first.decode()
    assert fleet.redis.hget(keys.job(job_id), "settled") == settled
    assert fleet.jobs.get(job_id).ended_at == view.ended_at
    assert names_of_events(fleet, view).count("job:completed") == 1


def test_a_child_of_a_stopped_worker_begins_nothing_once_the_leases_have_run_out(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    sleeper = spawn_worker(WORKER_CONCURRENCY="1")
    for _ in range(12):
        until_ended(fleet, hostile.stops_its_worker.enqueue({"folder": str(folder)}))
    told_before = told(folder)
    first = hostile.stops_its_worker.enqueue_many(
        [{"folder": str(folder), "name": "stops"}, *[{"folder": str(folder), "name": "behind"}] * 8]
    )
    begun_by = until_told(folder, name="stops")[0].split()[1]
    wait_until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED)
    other = spawn_worker()
    wait_until(lambda: len(told(folder, "stops")) == 2 and len(told(folder, "behind")) == 8)
    (folder / "stops.go").touch()
    other.terminate()
    assert other.wait(30) == 0
    sleeper.send_signal(signal.SIGCONT)
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert sorted(line.split()[0] for line in told(folder, "behind")) == sorted(job.id for job in first[1:])
    assert begun_by in [line.split()[1] for line in told_before]


def test_a_job_that_kills_its_process_is_quarantined_and_its_neighbours_are_not(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    poison = samples.dies.enqueue({"folder": str(folder), "name": "poison"})
    others = samples.double.enqueue_many([{"value": n} for n in range(50)])
    view = wait_until(lambda: v if (v := fleet.jobs.get(poison.id)).status == "quarantined" else None)
    assert told(folder, "poison") == ["began"] * 3
    assert view.error is not None
    assert "died" in view.error.message
    assert names_of_events(fleet, poison)[-1] == "job:failed"
    counters = f"{keys.FLEET}:counters"
    wait_until(lambda: fleet.redis.hget(counters, "finished:samples.double") == b"50")
    assert len(others) == 50
    assert fleet.redis.zrange(keys.QUARANTINE, 0, -1) == [poison.id.encode()]


def test_a_quarantined_job_can_be_restored(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    poison = samples.dies.enqueue({"folder": str(folder)})
    wait_until(lambda: fleet.jobs.get(poison.id).status == "quarantined")
    fleet.jobs.retry(poison.id)
    wait_until(lambda: len(told(folder)) == 6)
    wait_until(lambda: fleet.jobs.get(poison.id).status == "quarantined")


def test_sigterm_lets_a_running_job_end_and_takes_no_other(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker(WORKER_CONCURRENCY="1")
    job_id, _, _ = begin(fleet, folder)
    waiting = samples.double.enqueue({})
    worker.send_signal(signal.SIGTERM)
    (folder / "job.go").touch()
    assert worker.wait(20) == 0
    assert fleet.jobs.get(job_id).status == "completed"
    assert fleet.jobs.get(waiting.id).status == "queued"
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [waiting.id.encode()]


def test_what_outlives_the_grace_goes_back_to_the_front_without_a_charge(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    worker = spawn_worker(WORKER_CONCURRENCY="1", SHUTDOWN_GRACE="0.3")
    job_id, child, _ = begin(fleet, folder)
    behind = samples.double.enqueue({})
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    wait_until(lambda: gone(child))
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [job_id.encode(), behind.id.encode()]
    view = fleet.jobs.get(job_id)
    assert (view.status, view.attempts) == ("queued", 0)
    assert fleet.redis.zcard(keys.LEASES) == 0
    assert fleet.redis.keys(f"{keys.FLEET}:inbox:*") == []


def test_a_signal_to_the_whole_group_is_a_warm_shutdown_too(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    """Heroku and a terminal signal every process; only the parent may act on it."""
    worker = spawn_worker()
    job_id, child, template = begin(fleet, folder)
    for pid in (child, template, worker.pid):
        os.kill(pid, signal.SIGTERM)
    (folder / "job.go").touch()
    assert worker.wait(20) == 0
    assert fleet.jobs.get(job_id).status == "completed"


def test_a_second_signal_ends_the_grace(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = spawn_worker()
    job_id, _, _ = begin(fleet, folder)
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(20) == 0
    assert fleet.jobs.get(job_id).status == "queued"


def test_a_dead_workers_inbox_goes_back_to_the_front(fleet: Fleet, spawn_worker: Spawn) -> None:
    inbox = keys.inbox("gone", "default")
    first, second = samples.double.enqueue({"value": 1}), samples.double.enqueue({"value": 2})
    for _ in range(2):
        fleet.redis.lmove(keys.queue("default"), inbox, "LEFT", "RIGHT")
    fleet.redis.zadd(keys.WORKERS, {"gone": 1})
    fleet.redis.hset(f"{keys.FLEET}:worker-queues", "gone", '["default"]')
    spawn_worker()
    assert until_ended(fleet, first).status == "completed"
    assert until_ended(fleet, second).status == "completed"
    assert fleet.redis.exists(inbox) == 0


@pytest.mark.parametrize("runs_something", [False, True])
def test_an_id_that_a_hung_worker_still_takes_comes_back(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, runs_something: bool
) -> None:
    """Its BLMOVE waits in Redis after the process stopped, and is the first that Redis serves."""
    hung = spawn_worker()
    if runs_something:
        begin(fleet, folder)
    wait_until(
        lambda: any(
            "doorbell-default" in str(c["name"]) and c["flags"] == "b" and (runs_something or int(c["qbuf"]) > 0)
            for c in fleet.redis.client_list(_type="normal")
        )
    )
    os.kill(hung.pid, signal.SIGSTOP)
    job = samples.double.enqueue({})
    wait_until(lambda: not fleet.redis.exists(keys.queue("default")))
    assert fleet.redis.zcard(keys.LEASES) == 1
    assert bool(fleet.redis.keys(f"{keys.FLEET}:inbox:*")) == runs_something
    spawn_worker()
    assert until_ended(fleet, job).status == "completed"
    assert fleet.redis.keys(f"{keys.FLEET}:inbox:*") == []


def test_a_redis_that_goes_away_and_comes_back_loses_nothing(
    environ: dict[str, str], spawn: Spawn, tmp_path: Path, folder: Path
) -> None:
    from jobs.engine import connect
    from jobs.settings import Settings

    data = tmp_path / "aof"
    data.mkdir()
    server = RedisServer(data, "--appendonly", "yes", "--appendfsync", "always")
    environ["REDIS_URL"] = server.url
    fleet = connect(Settings.from_env(environ)).discover()
    worker = spawn("worker.py")
    wait_until(lambda: fleet.redis.zcard(keys.WORKERS))
    job_id, _, _ = begin(fleet, folder)
    server.stop(signal.SIGKILL)
    (folder / "job.go").touch()
    until_told(folder, 2)
    server.start()
    view = wait_until(lambda: v if (v := fleet.jobs.get(job_id)).ended else None)
    assert (view.status, told(folder).count("ended")) == ("completed", 1), "finished work is stored, not run again"
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert worker.poll() is None
    worker.terminate()
    worker.wait(20)
    fleet.close()
    server.stop()


def test_a_worker_that_starts_before_redis_waits_for_it(environ: dict[str, str], spawn: Spawn, tmp_path: Path) -> None:
    from jobs.engine import connect
    from jobs.settings import Settings

    server = RedisServer(tmp_path)
    environ["REDIS_URL"] = server.url
    server.stop()
    spawn("worker.py")
    wait_until(lambda: "waiting for redis" in (tmp_path / "process-0.log").read_text())
    server.start()
    fleet = connect(Settings.from_env(environ)).discover()
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    fleet.close()
    server.stop()


def test_what_a_killed_job_had_started_dies_with_it(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(CANCEL_GRACE="0")
    job = samples.parent.enqueue({"folder": str(folder)})
    grandchild = int(until_told(folder)[0])
    fleet.jobs.cancel(job.id)
    assert until_ended(fleet, job).status == "cancelled"
    wait_until(lambda: gone(grandchild))
