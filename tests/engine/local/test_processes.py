"""Several processes with pools on one database: what is killed or stopped runs again, and never twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from jobs.engine import JobView
from jobs.engine.local.fleet import LocalFleet
from tests.conftest import wait_until
from tests.engine.conftest import gone, names_of_events, told, until_ended, until_told
from tests.engine.local.conftest import BOTH
from tests.engine.samples import gated, printing
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]
pytestmark = pytest.mark.parametrize("environ", BOTH, indirect=True)


@pytest.fixture
def start(fleet: LocalFleet, spawn: Spawn) -> Spawn:
    """Start a process with a pool, and wait until it takes jobs."""

    def begin(**extra: str) -> subprocess.Popen[bytes]:
        before = fleet.census.at_work().workers
        process = spawn("-m", "tests.engine.local.pool_process", **extra)
        wait_until(lambda: fleet.census.at_work().workers > before or process.poll() is not None)
        assert process.poll() is None, "the process ended at once; its log is in the test's folder"
        return process

    return begin


@pytest.fixture
def go(folder: Path) -> Iterator[Callable[..., None]]:
    """Let gated jobs go on, at the latest when the test is over."""

    def open_gate(name: str = "job") -> None:
        (folder / f"{name}.go").touch()

    yield open_gate
    open_gate()


def payload(folder: Path, name: str = "job") -> dict[str, str]:
    return {"folder": str(folder), "name": name}


def begin(fleet: LocalFleet, folder: Path, job: JobView, runs: int = 1) -> int:
    """The process that runs a gated job, once it does for the so-and-so-many-th time."""
    line = until_told(folder, runs)[-1]
    assert line.startswith("began")
    return int(line.split()[1])


def test_a_killed_process_takes_its_children_along_and_its_jobs_run_again_elsewhere(
    fleet: LocalFleet, start: Spawn, folder: Path, go: Callable[..., None]
) -> None:
    first = start()
    job = samples.gate.enqueue(payload(folder))
    child = begin(fleet, folder, job)
    second = start()
    first.kill()
    wait_until(lambda: gone(child))
    begin(fleet, folder, job, 2)
    go()
    done = until_ended(fleet, job)
    assert (done.status, done.attempts, told(folder).count("ended")) == ("completed", 1, 1)
    assert done.worker is not None and str(second.pid) in done.worker
    assert names_of_events(fleet, job) == ["job:queued", "job:started", "job:queued", "job:started", "job:completed"]


def test_a_stopped_process_that_wakes_up_can_not_overwrite_the_second_run(
    fleet: LocalFleet, start: Spawn, folder: Path, go: Callable[..., None]
) -> None:
    first = start()
    job = samples.gate.enqueue(payload(folder))
    begin(fleet, folder, job)
    first.send_signal(signal.SIGSTOP)
    try:
        start()
        begin(fleet, folder, job, 2)
        running = fleet.jobs.get(job.id)
        go()
        done = until_ended(fleet, job)
    finally:
        first.send_signal(signal.SIGCONT)
    wait_until(lambda: fleet.census.at_work().workers == 2)
    assert fleet.jobs.get(job.id) == done
    assert done.worker == running.worker
    assert names_of_events(fleet, job).count("job:completed") == 1


def most_at_once(lines: list[str]) -> int:
    running = most = 0
    for line in lines:
        running += 1 if line.startswith("S") else -1
        most = max(most, running)
    return most


def test_a_limit_holds_over_all_processes(fleet: LocalFleet, start: Spawn, folder: Path) -> None:
    """Three processes that run one job each, of which two may run at once."""
    for _ in range(3):
        start(LOCAL_CONCURRENCY="1")
    rounds = []

    def two_ran_at_once() -> bool:
        """Where the machine is busy one process may have been through before another began."""
        for job in gated.timed.enqueue_many([payload(folder)] * 16):
            until_ended(fleet, job)
        rounds.append(most_at_once(told(folder)))
        return rounds[-1] > 1

    wait_until(two_ran_at_once)
    assert (rounds[-1], len(lines := told(folder))) == (2, 32 * len(rounds))
    assert len({line.split()[2] for line in lines}) >= 2, "several processes should have had some"


def test_a_job_is_cancelled_from_another_process_and_killed_if_it_must(
    fleet: LocalFleet, start: Spawn, folder: Path
) -> None:
    start(CANCEL_GRACE="0.3")
    polite, stubborn = samples.gate.enqueue(payload(folder)), samples.stubborn.enqueue(payload(folder, "other"))
    until_told(folder), until_told(folder, name="other")
    child = int(told(folder, "other")[0].split()[1])
    for job in (polite, stubborn):
        assert fleet.jobs.cancel(job.id).status == "started"
        assert until_ended(fleet, job).status == "cancelled"
    wait_until(lambda: gone(child))


def test_a_process_that_is_told_to_stop_gives_back_what_does_not_end_in_time(
    fleet: LocalFleet, start: Spawn, folder: Path, go: Callable[..., None]
) -> None:
    first = start(SHUTDOWN_GRACE="0.5")
    job = samples.gate.enqueue(payload(folder))
    begin(fleet, folder, job)
    first.terminate()
    assert first.wait(30) == 0
    assert fleet.census.at_work().workers == 0
    waiting = fleet.jobs.get(job.id)
    assert (waiting.status, waiting.attempts) == ("queued", 0)
    reason = fleet.jobs.why(job.id)
    assert reason is not None and reason.reason == "no_worker"
    start()
    begin(fleet, folder, job, 2)
    go()
    assert until_ended(fleet, job).attempts == 1


def test_a_job_goes_on_from_its_checkpoint_in_another_process(fleet: LocalFleet, start: Spawn, folder: Path) -> None:
    first = start()
    job = printing.counts.enqueue({"folder": str(folder)})
    until_told(folder, 4)
    wait_until(lambda: fleet.checkpoints(job.id, "").load() == [0, 1, 2])
    first.kill()
    start()
    (folder / "job.go").touch()
    assert until_ended(fleet, job).status == "completed"
    counted = [line for line in told(folder) if line.startswith("counted")]
    assert counted == sorted(set(counted), key=counted.index)


def test_no_process_is_left_when_its_pool_is_gone(fleet: LocalFleet, start: Spawn, folder: Path) -> None:
    process = start()
    samples.gate.enqueue(payload(folder))
    until_told(folder)
    family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert len(family) >= 2
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: all(map(gone, family)))


def test_a_pool_whose_template_died_is_followed_by_another(fleet: LocalFleet, start: Spawn, folder: Path) -> None:
    process = start()
    job = samples.gate.enqueue(payload(folder))
    begin(fleet, folder, job)
    [template] = psutil.Process(process.pid).children()
    template.kill()
    begin(fleet, folder, job, 2)
    (folder / "job.go").touch()
    assert (until_ended(fleet, job).status, process.poll()) == ("completed", None)


def test_a_periodic_job_runs_once_a_time_however_many_processes_look(
    fleet: LocalFleet, start: Spawn, folder: Path
) -> None:
    extra = {"JOB_MODULES": "tests.engine.local.ticking"}
    start(**extra), start(**extra)
    lines = until_told(folder, 4, "tick")
    assert len(lines) == len(set(lines))


def test_a_pool_waits_out_a_short_sleep_of_everybody(fleet: LocalFleet, start: Spawn, folder: Path) -> None:
    """Where the whole machine was stopped, nobody's runs are given back."""
    processes = [start(), start()]
    job = samples.gate.enqueue(payload(folder))
    begin(fleet, folder, job)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    wait_until(lambda: all(psutil.Process(each.pid).status() == psutil.STATUS_STOPPED for each in processes))
    lapse = fleet.settings.lease + timedelta(seconds=1)
    with fleet.events.subscribe([f"job:{job.id}"], tenant=None) as subscription:
        assert subscription.get(lapse.total_seconds()) is None
        for process in processes:
            process.send_signal(signal.SIGCONT)
        (folder / "job.go").touch()
        event = subscription.get(30)
    assert event is not None and event.name == "job:completed"
    assert told(folder).count("ended") == 1
