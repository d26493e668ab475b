"""A forked process that captures what its runs print."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import logs
from jobs.engine.worker.capture import Capture
from jobs.settings import Settings


@dataclass(frozen=True)
class Run:
    """A run, as far as its output needs it; what it reports is appended to a file."""

    job_id: str
    folder: Path
    job_type: str = "samples.prints"
    tenant: str = "acme"
    attempt: int = 1

    def report(self, kind: str, value: dict[str, Any]) -> None:
        with (self.folder / f"{self.job_id}.lines").open("a") as file:
            file.write(value["lines"] + "\n")

    def stopping(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def lines(self) -> list[dict[str, Any]]:
        path = self.folder / f"{self.job_id}.lines"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines()]


Body = Callable[[Capture], None]


@pytest.fixture
def child(tmp_path: Path) -> Callable[[Body], Callable[[], None]]:
    """Fork a process that captures its output and does something; calling what is returned waits for its end."""

    def start(body: Body) -> Callable[[], None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _be_the_child(body, tmp_path)
        return lambda: _ends_well(pid, tmp_path)

    return start


def _be_the_child(body: Body, folder: Path) -> None:
    status = 1
    try:
        os.dup2(os.open(folder / "process.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        logs.configure(Settings(environment="test", log_format="json"), "worker")
        capture = Capture()
        capture.start()
        body(capture)
        status = 0
    except BaseException:
        (folder / "failure").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def _ends_well(pid: int, folder: Path) -> None:
    status = os.waitpid(pid, 0)[1]
    failure = folder / "failure"
    assert status == 0, failure.read_text() if failure.exists() else status


def process_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "process.log").read_text().splitlines()]
