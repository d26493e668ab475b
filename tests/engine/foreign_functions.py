"""What a plain RQ client enqueues by path: functions and callbacks outside the registry."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess  # noqa: F401  what a client might reach through this module
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rq import Retry, get_current_job
from rq.timeouts import JobTimeoutException

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


def status_in_callback(job: Any, connection: Any, *rest: Any) -> None:
    append(
        job.meta["path"],
        f"{job.get_status(refresh=False).value} {type(rest[-2] if len(rest) > 1 else rest[0]).__name__}",
    )


def save_in_callback(job: Any, *about: Any) -> None:
    job.meta["saved"] = job.get_status(refresh=False).value
    job.save()


def stopped(job: Any, connection: Any) -> None:
    append(job.meta["path"], f"stopped {job.id}")


def broken_callback(job: Any, connection: Any) -> None:
    raise ValueError("a callback that fails")


async def double_later(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def unserializable() -> object:
    return {1, 2, 3}


def come_again(most: int, interval: int = 0, at_front: bool = False) -> Retry:
    return Retry(max=most, interval=interval, enqueue_at_front=at_front)


def note_in_meta(path: str) -> None:
    job = get_current_job()
    assert job is not None
    job.meta["note"] = job.origin
    job.save_meta()
    append(path, "ran")


def wait_for(path: str) -> None:
    append(f"{path}.begun", str(os.getpid()))
    while not Path(path).exists():
        time.sleep(0.01)


def die(path: str) -> None:
    append(path, "began")
    os.kill(os.getpid(), signal.SIGKILL)


def heed_rqs_timeout(path: str) -> None:
    append(f"{path}.begun", "begun")
    try:
        time.sleep(60)
    except JobTimeoutException:
        append(path, "tidied up")
        raise


def give_up_retrying(path: str) -> None:
    append(path, "ran")
    job = get_current_job()
    assert job is not None
    job.retries_left = 0
    raise ValueError("it makes no sense to try again")


def slow_callback(job: Any, connection: Any, result: Any) -> None:
    time.sleep(job.meta["seconds"])
    append(job.meta["path"], "called")


def handler(job: Any, kind: type[BaseException], error: BaseException, trace: Any) -> None:
    append(job.meta["path"], kind.__name__)


def last_handler(job: Any, *about: Any) -> bool:
    append(job.meta["path"], "last")
    return False
