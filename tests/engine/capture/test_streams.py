"""A process's output goes to the run that wrote it: in Python, below Python, from threads and other processes."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import structlog

from jobs.engine.worker.capture import Capture
from tests.conftest import wait_until
from tests.engine.capture.conftest import Run, process_log


def test_every_way_to_print_is_seen_in_its_order(child: Any, tmp_path: Path) -> None:
    run = Run("one", tmp_path)

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        print("print")
        os.system("echo system")
        print("error", file=sys.stderr)
        ctypes.CDLL(None).printf(b"C library\n")
        sys.stdout.buffer.write(b"bytes\n")
        os.write(2, b"descriptor\n")
        print("original", file=sys.__stdout__)
        subprocess.run(["sh", "-c", "echo inherited; echo failed >&2"], check=True)
        subprocess.run(["echo", "passed"], check=True, stdout=sys.stdout)
        logging.getLogger("a.library").warning("from %s", "logging", extra={})
        structlog.get_logger("mine").info("structured", password="hunter2", count=7)
        print("no end", end="")
        capture.end(taken)

    child(body)()
    lines = run.lines()
    shown = [(line["stream"], line["text"]) for line in lines]
    assert shown == [
        ("stdout", "print"), ("stdout", "system"), ("stderr", "error"), ("stdout", "C library"), ("stdout", "bytes"),
        ("stderr", "descriptor"), ("stdout", "original"), ("stdout", "inherited"), ("stderr", "failed"),
        ("stdout", "passed"), ("log", "from logging"), ("log", "structured"), ("stdout", "no end"),
    ]  # fmt: skip
    assert next(line for line in lines if line["text"] == "structured")["values"] == {"password": "***", "count": 7}


def test_output_below_python_appears_while_the_run_goes_on(child: Any, tmp_path: Path) -> None:
    run, go = Run("one", tmp_path), tmp_path / "go"

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        subprocess.run(["sh", "-c", f"seq 200; while [ ! -e {go} ]; do sleep 0.02; done"], check=True)
        capture.end(taken)

    ended = child(body)
    wait_until(lambda: run.texts() == [str(number) for number in range(1, 201)])
    go.touch()
    ended()


def test_lines_held_back_appear_while_the_run_is_silent(child: Any, tmp_path: Path) -> None:
    run, go = Run("one", tmp_path), tmp_path / "go"

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        for number in range(200):
            print(number)
        wait_until(go.exists)
        capture.end(taken)

    ended = child(body)
    wait_until(lambda: len(run.texts()) == 200)
    go.touch()
    ended()


def test_more_than_a_pipe_holds_blocks_nobody(child: Any, tmp_path: Path) -> None:
    run = Run("one", tmp_path)

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        subprocess.run(["sh", "-c", "yes | head -c 3000000"], check=True)
        capture.end(taken)

    child(body)()
    told = [text for text in run.texts() if text.startswith("output capped")]
    assert int(told[1].split()[2]) == 1_500_000 - 1000


def test_runs_after_each_other_have_their_own_output(child: Any, tmp_path: Path) -> None:
    runs = [Run(f"r{number}", tmp_path) for number in range(20)]

    def body(capture: Capture) -> None:
        for number, run in enumerate(runs):
            taken = capture.begin(run, run)
            if number % 3 == 0:
                os.write(1, b"%d\n" % number)
            elif number % 3 == 1:
                print(number)
            assert not capture.end(taken)

    child(body)()
    assert [run.texts() for run in runs] == [[str(n)] if n % 3 < 2 else [] for n in range(20)]


def test_runs_in_threads_have_their_own_output(child: Any, tmp_path: Path) -> None:
    runs = [Run(f"r{number}", tmp_path) for number in range(4)]

    def body(capture: Capture) -> None:
        together = threading.Barrier(4)

        def work(run: Run) -> None:
            taken = capture.begin(run, run)
            together.wait()
            for _ in range(100):
                print("I am", run.job_id)
                structlog.get_logger("mine").info(run.job_id)
            os.write(1, b"nobody knows whose this is\n")
            together.wait()
            capture.end(taken)

        threads = [threading.Thread(target=work, args=(run,)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    child(body)()
    for run in runs:
        assert run.texts() == [f"I am {run.job_id}", run.job_id] * 100
    assert [line["event"] for line in process_log(tmp_path)].count("nobody knows whose this is") == 4


def test_threads_and_forks_of_a_job_print_for_it(child: Any, tmp_path: Path) -> None:
    run = Run("one", tmp_path)

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        if os.fork() == 0:
            print("from a fork")
            structlog.get_logger("mine").info("a fork does not speak for the child")
            os._exit(0)
        os.wait()
        assert not capture.end(taken)

    child(body)()
    assert run.texts() == ["from a thread", "from a fork"]


def test_a_thread_that_outlives_its_run_does_not_print_for_the_next(child: Any, tmp_path: Path) -> None:
    first, second = Run("first", tmp_path), Run("second", tmp_path)

    def body(capture: Capture) -> None:
        go = threading.Event()

        def late() -> None:
            go.wait()
            print("late")

        taken = capture.begin(first, first)
        thread = threading.Thread(target=late)
        thread.start()
        capture.end(taken)
        taken = capture.begin(second, second)
        go.set()
        thread.join()
        print("mine")
        capture.end(taken)

    child(body)()
    assert (first.texts(), second.texts()) == ([], ["mine"])
    assert [(line["event"], line.get("job_id")) for line in process_log(tmp_path)] == [
        ("late", None),
        ("mine", "second"),
    ]
