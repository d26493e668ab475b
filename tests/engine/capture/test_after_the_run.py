"""What a run did to the streams, or left behind, harms no other; the log of the worker shows what was printed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from jobs.engine.worker.capture import Capture
from tests.engine.capture.conftest import Run, process_log


def test_a_process_left_behind_makes_the_child_unfit_for_another_run(child: Any, tmp_path: Path) -> None:
    run = Run("one", tmp_path)

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        left = subprocess.Popen(["sleep", "60"])
        assert capture.end(taken)
        left.kill()
        left.wait()
        taken = capture.begin(run, run)
        with subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as silent:
            os.system("echo still seen")
            assert not capture.end(taken)
            silent.kill()

    child(body)()
    assert run.texts() == ["still seen"]


def test_a_job_that_replaces_or_closes_the_streams_harms_only_itself(child: Any, tmp_path: Path) -> None:
    first, second = Run("first", tmp_path), Run("second", tmp_path)

    def body(capture: Capture) -> None:
        taken = capture.begin(first, first)
        sys.stdout.close()
        sys.stdout = io.StringIO()
        print("nowhere")
        capture.end(taken)
        taken = capture.begin(second, second)
        print("here")
        capture.end(taken)

    child(body)()
    assert (first.texts(), second.texts()) == ([], ["here"])


def test_the_workers_log_shows_what_was_printed_and_by_which_job(child: Any, tmp_path: Path) -> None:
    run = Run("one", tmp_path)

    def body(capture: Capture) -> None:
        structlog.get_logger("worker").info("before")
        taken = capture.begin(run, run)
        print("token=abcdef")
        capture.end(taken)

    child(body)()
    before, printed = process_log(tmp_path)
    assert before["event"] == "before"
    about = {"job_id": "one", "job_type": "samples.prints", "tenant": "acme", "attempt": 1, "stream": "stdout"}
    assert (printed["event"], printed["logger"]) == ("token=***", "job.output")
    assert about.items() <= printed.items()


def test_after_stop_everything_is_where_it_was(child: Any, tmp_path: Path) -> None:
    run = Run("one", tmp_path)

    def body(capture: Capture) -> None:
        taken = capture.begin(run, run)
        capture.end(taken)
        capture.stop()
        print('{"event": "printed"}', file=sys.stderr, flush=True)
        os.write(2, b'{"event": "below"}\n')
        structlog.get_logger("worker").info("logged")

    child(body)()
    assert {line["event"] for line in process_log(tmp_path)} == {"printed", "below", "logged"}
    assert run.lines() == []
