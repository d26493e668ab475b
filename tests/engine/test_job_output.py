"""What jobs print on real workers: live, kept with the job, capped, and never another job's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, JobView, LogLine, keys, output
from tests.conftest import wait_until
from tests.engine.conftest import until_ended, until_told
from tests.engine.samples import jobs as samples
from tests.engine.samples import printing

Spawn = Callable[..., Any]
KEY = Fernet.generate_key().decode()
CANARY = "canary-31f0"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "FOREIGN_JOBS": "tests.engine.foreign_functions.*", "LOG_FORMAT": "json", "ENCRYPTION_KEYS": KEY}


def texts(fleet: Fleet, job: JobView) -> list[str]:
    return [line.text for line in fleet.jobs.log(job.id)]


def told_live(fleet: Fleet, job: JobView) -> list[dict[str, Any]]:
    """The lines in the events on the job's own topic."""
    events = fleet.events.read(f"job:{job.id}", tenant=job.tenant, count=1000)
    return [line for event in events if event.name == "job:output" for line in event.data["lines"]]


def named(line: LogLine) -> tuple[str, str, str]:
    return line.stream, line.level, line.text


def test_all_output_appears_live_and_is_kept(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    job = printing.everything.enqueue({"folder": str(folder)}, tenant="acme")
    wait_until(lambda: [line["text"] for line in told_live(fleet, job)][-1:] == ["watch out"])
    assert fleet.jobs.get(job.id).status == "started"
    (folder / "job.go").touch()
    until_ended(fleet, job)
    lines = [line for line in fleet.jobs.log(job.id, "acme") if "careful" not in line.text]
    assert [named(line) for line in lines] == [
        ("stdout", "info", "printed"),
        ("stderr", "warning", "complained"),
        ("stdout", "info", "from a process"),
        ("stdout", "info", "from C"),
        ("stderr", "warning", "caf\\xe9\\x00"),
        ("log", "info", "counted"),
        ("log", "debug", "in detail"),
        ("log", "warning", "watch out"),
        ("stdout", "info", "done"),
    ]
    assert lines[5].values == {"value": 7, "password": "***"}
    assert {line.attempt for line in lines} == {1}
    assert any("UserWarning: careful" in text for text in texts(fleet, job))
    assert [line["id"] for line in told_live(fleet, job)] == [line.id for line in fleet.jobs.log(job.id)]


def test_reading_goes_on_after_a_line(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.says.enqueue({"words": "one\ntwo\nthree"}))
    first = fleet.jobs.log(job.id)[0]
    assert [line.text for line in fleet.jobs.log(job.id, after=first.id)] == ["two", "three"]


def test_output_is_told_on_the_jobs_own_topic_only(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.says.enqueue({"words": "hello"}, tenant="acme"))
    names = [event.name for event in fleet.events.read("workspace:w1", tenant="acme")]
    assert "job:completed" in names
    assert "job:output" not in names
    assert [line["text"] for line in told_live(fleet, job)] == ["hello"]


def test_neighbours_never_see_each_others_output(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    jobs = printing.says.enqueue_many([{"words": f"I am {number}", "times": number % 3} for number in range(300)])
    for number, job in enumerate(jobs):
        until_ended(fleet, job)
        assert texts(fleet, job) == [f"I am {number}"] * (number % 3)


def test_what_a_left_process_prints_is_no_later_jobs(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(WORKER_CONCURRENCY="1")
    left = until_ended(fleet, printing.leaves.enqueue({"folder": str(folder)}))
    later = printing.everything.enqueue({"folder": str(folder), "name": "later"})
    wait_until(lambda: "watch out" in texts(fleet, later))
    (folder / "job.go").touch()
    (folder / "later.go").touch()
    until_ended(fleet, later)
    assert texts(fleet, left) == ["mine"]
    assert "late" not in texts(fleet, later)


def test_output_is_capped_and_says_so(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.says.enqueue({"words": "again and again", "times": 20_000}))
    lines = fleet.jobs.log(job.id)
    assert len(lines) == output.MOST_LINES
    assert fleet.redis.xlen(keys.log(job.id)) <= output.MOST_LINES + 100
    assert "output capped: 19000 lines" in "\n".join(texts(fleet, job))
    events = [
        event for event in fleet.events.read(f"job:{job.id}", tenant="", count=1000) if event.name == "job:output"
    ]
    assert len(events) < 30


def test_credentials_are_struck_out_everywhere(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.says.enqueue({"words": f"connecting with password={CANARY}"}))
    assert texts(fleet, job) == ["connecting with password=***"]
    assert CANARY not in json.dumps(told_live(fleet, job))
    wait_until(lambda: "connecting with" in (tmp_path / "process-0.log").read_text())
    assert CANARY not in (tmp_path / "process-0.log").read_text()


def test_a_secret_of_the_payload_is_struck_out_where_it_is_printed(
    fleet: Fleet, spawn_worker: Spawn, tmp_path: Path
) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.reveals.enqueue({"key": CANARY}))
    assert texts(fleet, job) == ["the key is ***", "and again ***", "a library said"]
    for name in fleet.redis.keys("*"):
        assert CANARY.encode() not in fleet.redis.dump(name), name
    assert CANARY not in (tmp_path / "process-0.log").read_text()


def test_the_workers_log_names_the_job_that_printed(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.says.enqueue({"words": "seen by operators"}, tenant="acme"))
    lines = [json.loads(line) for line in (tmp_path / "process-0.log").read_text().splitlines()]
    (line,) = [line for line in lines if line["event"] == "seen by operators"]
    about = {"job_id": job.id, "job_type": "printing.says", "tenant": "acme", "stream": "stdout", "attempt": 1}
    assert about.items() <= line.items()


def test_each_attempts_lines_are_kept_and_told_apart(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.fails.enqueue({"words": "try"}))
    assert [(line.text, line.attempt) for line in fleet.jobs.log(job.id)] == [("try 1", 1), ("try 2", 2)]


def test_what_a_job_printed_before_it_was_killed_is_kept(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(CANCEL_GRACE="0.5")
    hanging = printing.hangs.enqueue({"folder": str(folder)})
    until_told(folder)
    fleet.jobs.cancel(hanging.id)
    assert until_ended(fleet, hanging).status == "cancelled"
    assert texts(fleet, hanging) == ["I never listen"]


def test_what_a_job_printed_before_it_died_is_kept(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = printing.dies.enqueue({"words": "goodbye"})
    wait_until(lambda: fleet.jobs.get(job.id).status == "quarantined")
    assert texts(fleet, job) == ["goodbye", "just before"] * 3


def test_output_goes_with_the_job(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.says.enqueue({"words": "hello"}))
    assert 0 < fleet.redis.ttl(keys.log(job.id)) <= fleet.redis.ttl(keys.job(job.id)) + 1
    silent = until_ended(fleet, samples.double.enqueue({}))
    assert not fleet.redis.exists(keys.log(silent.id))


def test_a_plain_rq_job_has_its_output_too(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    queue = Queue("default", connection=fleet.redis, serializer=JSONSerializer)
    job = queue.enqueue("tests.engine.foreign_functions.prints", "hello")
    view = until_ended(fleet, fleet.jobs.get(job.id))
    assert [(line.stream, line.text) for line in fleet.jobs.log(view.id)] == [
        ("stdout", "hello"),
        ("stderr", "and more"),
    ]
    assert [line["text"] for line in told_live(fleet, view)] == ["hello", "and more"]
