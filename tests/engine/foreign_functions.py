"""What a plain RQ client enqueues by path: functions and callbacks outside the registry."""

from __future__ import annotations

import subprocess  # noqa: F401  what a client might reach through this module
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rq import get_current_job

together = threading.Barrier(4)


def add(a: int, b: int) -> int:
    return a + b


def append(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def fail(path: str) -> None:
    append(path, "ran")
    raise ValueError("it never works")


def waits(path: str) -> None:
    append(path, "began")
    while not Path(f"{path}.go").exists():
        time.sleep(0.01)


def succeeded(job: Any, connection: Any, result: Any) -> None:
    append(job.meta["path"], f"callback {result}")


def prints(text: str) -> None:
    print(text)
    print("and more", file=sys.stderr)


def name_yourself() -> str | None:
    """The job's id, asked for when four jobs of this process run at once."""
    together.wait(30)
    job = get_current_job()
    return None if job is None else str(job.id)
