"""What a run had written when its process died, or was killed, is kept, and is there before its end is told."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from jobs.engine import BrokerUnavailable, Fleet, JobView, connect, keys
from jobs.engine.outcome import Outcome
from jobs.engine.output import LAST_LINES, Output
from jobs.engine.worker import page, running
from jobs.engine.worker.descriptors import piece
from jobs.engine.worker.remains import last_words
from jobs.engine.worker.running import Running
from jobs.engine.worker.settling import Settler
from jobs.settings import Settings
from tests.conftest import RedisServer, wait_until
from tests.engine.conftest import told, until_ended, until_quarantined, until_told
from tests.engine.samples import printing

Spawn = Callable[..., subprocess.Popen[bytes]]
CANARY = "canary-52c9"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "ENCRYPTION_KEYS": Fernet.generate_key().decode()}


def texts(fleet: Fleet, job: JobView) -> list[str]:
    return [line.text for line in fleet.jobs.log(job.id)]


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("how", ["print", "log"])
def test_lines_that_were_held_back_are_there_when_the_death_is_told(
    fleet: Fleet, spawn_worker: Spawn, how: str, threads: str
) -> None:
    spawn_worker(WORKER_THREADS=threads)
    job = printing.chats.enqueue({"how": how, "lines": 200})
    until_quarantined(fleet, job.id)
    assert texts(fleet, job) == [*(f"line {number}" for number in range(200)), "and half a line"] * 3


def test_lines_written_below_python_are_there_when_the_death_is_told(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    jobs = [printing.chats.enqueue({"how": "below", "lines": 20}) for _ in range(10)]
    for job in jobs:
        until_quarantined(fleet, job.id)
        lines = texts(fleet, job)
        assert [line for line in lines if line.startswith("line")] == [f"line {number}" for number in range(20)] * 3
        assert lines.count("and half a line") == 3


def test_the_newest_lines_of_a_flood_outlive_its_process(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = printing.chats.enqueue({"how": "print", "lines": 3000})
    until_quarantined(fleet, job.id)
    lines = texts(fleet, job)
    assert lines[-LAST_LINES:] == [*(f"line {number}" for number in range(2901, 3000)), "and half a line"]
    assert lines[-LAST_LINES - 1].startswith("output capped: 2001 lines")


def test_a_job_that_was_cancelled_and_killed_keeps_every_line(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(CANCEL_GRACE="0.1")
    job = printing.goes_on.enqueue({"folder": str(folder)})
    until_told(folder, 20)
    fleet.jobs.cancel(job.id)
    assert until_ended(fleet, job).status == "cancelled"
    lines, written = texts(fleet, job), told(folder)
    assert lines[: len(written)] == written
    assert len(lines) - len(written) <= 1


def test_a_job_that_outlived_its_workers_grace_keeps_every_line(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    worker = spawn_worker(SHUTDOWN_GRACE="0.1")
    job = printing.goes_on.enqueue({"folder": str(folder)})
    until_told(folder, 20)
    worker.terminate()
    wait_until(lambda: fleet.jobs.get(job.id).status == "queued")
    lines, written = texts(fleet, job), told(folder)
    assert lines[: len(written)] == written
    assert len(lines) - len(written) <= 1


def test_the_last_of_many_lines_are_shown_wherever_they_are_read(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = until_ended(fleet, printing.floods.enqueue({"words": "line", "times": 5000}))
    assert texts(fleet, job)[-1] == "line 4999"
    assert fleet.inspection.get(job.id).lines[-1].text == "line 4999"
    letter = fleet.dead_letters.get(job.id)
    assert [line.text for line in letter.lines][-2:] == ["line 4998", "line 4999"]


def test_a_secret_is_struck_out_of_last_words_too(
    environ: dict[str, str], fleet: Fleet, spawn_worker: Spawn, tmp_path: Path
) -> None:
    spawn_worker()
    job = printing.reveals_and_dies.enqueue({"key": CANARY})
    until_quarantined(fleet, job.id)
    assert sorted(texts(fleet, job)) == ["and again ***"] * 3 + ["the key is ***"] * 3
    assert CANARY not in (tmp_path / "process-0.log").read_text()


def a_run(job_id: str = "j1") -> Running:
    values: list[Any] = [None] * running.FIRST_CALLBACK_TIME
    values[running.TYPE], values[running.CALLBACKS] = b"", [None] * 3
    return Running(job_id, "e1", "default", "default", values)


def test_lines_wait_with_the_outcome_while_redis_is_away(environ: dict[str, str], server: RedisServer) -> None:
    client = connect(Settings.from_env(environ)).redis
    settler, run = Settler(client), a_run()
    settler.report(run, "output", {"lines": '{"text":"goodbye"}'})
    settler.add(run, Outcome("finished"))
    server.stop(signal.SIGKILL)
    with pytest.raises(BrokerUnavailable):
        settler.due()
    settler.postpone()
    server.start()
    client.hset(keys.job("j1"), "status", "started")
    client.zadd(keys.LEASES, {"j1:e1": 1})
    wait_until(settler.due)
    assert client.xlen(keys.log("j1")) == 1


class Dying:
    """An output as a child has it and, whenever it is asked, what its worker would find if it died now."""

    def __init__(self) -> None:
        fd = page.create()
        self._theirs, self._ours = page.Page(fd), page.Page(fd)
        os.close(fd)
        self.heard: list[str] = []
        self.output = Output(self.heard.extend, 1, None, self._theirs.spool)

    def all_lines(self) -> list[str]:
        found = last_words(a_run(), self._ours, len(self.heard), None)
        return [json.loads(line)["text"] for line in [*self.heard, *(line for batch in found for line in batch)]]

    def close(self) -> None:
        self._theirs.close()
        self._ours.close()


@contextmanager
def dying() -> Iterator[Dying]:
    found = Dying()
    yield found
    found.close()


def whole(steps: list[tuple[str, Any]]) -> list[str]:
    """What a run that ends well tells of the same."""
    lines: list[str] = []
    output = Output(lines.extend, 1)
    for name, value in steps:
        do(output, name, value)
    output.close()
    return [json.loads(line)["text"] for line in lines]


def do(output: Output, name: str, value: Any) -> None:
    match name:
        case "flush":
            output.flush()
        case "log":
            output.log("info", value, {"count": 1})
        case "stdout" | "stderr" as stream:
            output.write(stream, value)


def some_steps(chance: random.Random) -> list[tuple[str, Any]]:
    """Lines, halves of lines and floods in any order; few or so many that they are capped."""
    wide = chance.choice([1, 40])
    steps: list[tuple[str, Any]] = []
    for number in range(chance.randrange(1, 80)):
        text = chance.choice(["", "part", "line\n", "a\nb\n", "über\n", "x" * 5000, "many\n" * 30 * wide])
        name = chance.choice(["stdout", "stdout", "stderr", "log", "flush"])
        steps.append((name, f"{number}" if name == "log" else f"{number} {text}".encode()))
    return steps


@pytest.mark.parametrize("seed", range(30))
def test_at_any_moment_the_worker_finds_all_that_was_not_told(seed: int) -> None:
    chance = random.Random(seed)
    steps = some_steps(chance)
    with dying() as run:
        for count, (name, value) in enumerate(steps, 1):
            do(run.output, name, value)
            if chance.random() < 0.2 or count == len(steps):
                assert run.all_lines() == whole(steps[:count])
        run.output.close()
        assert run.all_lines() == whole(steps)


def test_a_message_that_was_just_sent_is_not_told_again() -> None:
    with dying() as run:
        for number in range(8):
            run.output.write("stdout", b"%d\n" % number)
        assert run.output.waiting
        held_back = [*run.all_lines()][len(run.heard) :]
        found = last_words(a_run(), run._ours, len(run.heard) + 2, None)
        assert [json.loads(line)["text"] for batch in found for line in batch] == held_back[2:]


def test_what_was_read_from_a_pipe_a_moment_ago_is_found() -> None:
    class Killed(BaseException):
        """In place of the kill that strikes between the pipe and the lines."""

    reading, writing = os.pipe()
    with dying() as run:
        run.output.write("stdout", b"half ")
        os.write(writing, b"a line\nand the next\n")

        def dies(lines: list[str]) -> None:
            raise Killed

        run.output._send = dies
        with pytest.raises(Killed):
            run.output.pull("stdout", reading, piece)
        os.set_blocking(reading, False)
        assert piece(reading) == b""
        assert run.all_lines() == ["half a line", "and the next"]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("lines", [50, 5000])
def test_a_spool_is_empty_for_the_next_run(lines: int) -> None:
    with dying() as run:
        for number in range(lines):
            run.output.write("stdout", b"%d\n" % number)
        run.output.close()
        run.heard.clear()
        assert run.all_lines() == []


@pytest.mark.parametrize(
    "line", ["{", "[]", "[" * 100_000, '{"text":1,"stream":"log"}', '{"text":"x"}', '{"text":"\\ud800","stream":"log"}']
)
def test_what_is_no_line_among_a_childs_newest_harms_nobody(line: str) -> None:
    with dying() as run:
        run.output.write("stdout", b"half")
        spool = run.output._spool
        assert spool is not None
        spool.add_newest(line)
        spool.save(run.output._held())
        assert [text for text in run.all_lines() if text != "half"] == []


def test_a_childs_nonsense_in_its_spool_harms_nobody() -> None:
    chance = random.Random(1)
    fd = page.create()
    with os.fdopen(fd, "r+b") as memory:
        for _ in range(200):
            memory.seek(page.SIZE)
            memory.write(bytes([chance.choice([1, 2])]) + b"\0" * 1023 + chance.randbytes(100))
            memory.flush()
            its = page.Page(fd)
            for lines in last_words(a_run(), its, 0, None):
                assert all(isinstance(line, str) for line in lines)
            its.close()
