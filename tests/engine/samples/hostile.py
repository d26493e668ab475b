"""Jobs that do what real code does by accident, and some that forge what a child may tell its worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from jobs.engine import Context, Payload, Retry, Retryable, job
from tests.engine.samples.jobs import SOON, Told, tell

NONE = Retry(max_retries=0)


class Empty(Payload):
    pass


class Forged(Payload):
    """What the job tells its worker by itself: bytes in Latin-1."""

    text: str
    blob: str = ""


@job("hostile.surrogate", retry=NONE)
def surrogate(payload: Empty, context: Context) -> None:
    """Quotes a file name that is no UTF-8."""
    raise ValueError("can't read " + os.fsdecode(b"caf\xe9.pdf"))


@job("hostile.leaks", retry=NONE)
def leaks(payload: Empty, context: Context) -> None:
    """Quotes an address with a password."""
    raise ConnectionError("can't reach https://user:hunter2canary@db.example/x")


@job("hostile.exits", retry=NONE)
def exits(payload: Empty, context: Context) -> None:
    """Ends like a command line."""
    sys.exit("usage: bad argument")


@job("hostile.cancelled_error", retry=NONE)
def cancelled_error(payload: Empty, context: Context) -> None:
    """Lets out what asyncio raises, which is no Exception."""
    raise asyncio.CancelledError


@job("hostile.far", retry=SOON)
def far(payload: Empty, context: Context) -> None:
    """Asks to be run again in the year 11000."""
    raise Retryable("later", after=timedelta(days=365 * 9000))


@job("hostile.orphan", timeout=None)
def orphan(payload: Told, context: Context) -> None:
    """Forks a process that keeps this one's descriptors, and waits; its second run only says so."""
    began = Path(payload.folder, "orphan.began")
    if began.exists():
        tell(payload, "again")
        return
    began.touch()
    forked = os.fork()
    if forked == 0:
        time.sleep(60)
        os._exit(0)
    tell(payload, f"{os.getpid()} {forked}")
    signal.pause()


@job("hostile.fails_late", retry=Retry(max_retries=3, first=timedelta(hours=1)))
def fails_late(payload: Told, context: Context) -> None:
    """Waits like gate without looking whether it was cancelled, then fails."""
    tell(payload, "began")
    while not Path(payload.folder, f"{payload.name}.go").exists():
        time.sleep(0.01)
    raise ValueError("too late")


@job("hostile.stops_its_worker", retry=NONE)
def stops_its_worker(payload: Told, context: Context) -> None:
    """The first one stops its worker before that can look at it, and waits; the others only say that they began."""
    tell(payload, f"{context.job_id} {os.getpid()}")
    began = Path(payload.folder, f"{payload.name}.began")
    if payload.name != "stops" or began.exists():
        return
    began.touch()
    os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGSTOP)
    while not Path(payload.folder, f"{payload.name}.go").exists():
        time.sleep(0.01)


@job("hostile.forges", retry=NONE)
def forges(payload: Forged, context: Context) -> None:
    """Writes to the worker's socket by itself, then waits for what comes of it."""
    text = payload.text.replace("EXECUTION", context.execution_id).encode("latin-1")
    reporter: Any = context.reporter
    reporter._sink._pipe._sock.sendall(_frame(text, payload.blob.encode("latin-1")))
    signal.pause()


@job("hostile.shrinks", retry=NONE)
def shrinks(payload: Empty, context: Context) -> None:
    """Takes away the memory that it shares with its worker."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "rq-fleet-child" in str(descriptor.readlink()):
                os.ftruncate(int(descriptor.name), 0)


@job("hostile.reads_no_more", retry=NONE)
def reads_no_more(payload: Empty, context: Context) -> None:
    """Says that it has ended and waits for more, and then does not read what comes."""
    outcome = forged_outcome({}, kind=0)
    blob = outcome["blob"].encode("latin-1")
    reporter: Any = context.reporter
    pipe = reporter._sink._pipe
    pipe._sock.sendall(_frame(outcome["text"].encode(), blob) + _frame(b'{"op": "idle", "spoiled": false}', b""))
    signal.pause()


@job("hostile.long", retry=NONE)
def long(payload: Forged, context: Context) -> int:
    """The length of what it is handed."""
    return len(payload.text)


@job("hostile.dies_once", retry=Retry(max_retries=6, first=timedelta(0), longest=timedelta(0)))
def dies_once(payload: Told, context: Context) -> None:
    """Kills its process the first time and fails every other time."""
    tell(payload, f"{os.getpid()}")
    if len(Path(payload.folder, f"{payload.name}.told").read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("again")


def forged(**message: Any) -> dict[str, str]:
    """A message about the job's own run."""
    return {"text": json.dumps({"execution_id": "EXECUTION", **message})}


def forged_outcome(outcome: dict[str, Any], place: int = 0, kind: int = 1, begun: float = 1.0) -> dict[str, str]:
    """An outcome of the run at that place of the batch."""
    return forged_body(json.dumps(outcome).encode(), place, kind, begun)


def forged_body(body: bytes, place: int = 0, kind: int = 1, begun: float = 1.0) -> dict[str, str]:
    """What is in the place of an outcome, as it is."""
    frame = struct.pack("<HBBddI", place, kind, 0, begun, 2.0, len(body)) + body
    return {"text": json.dumps({"op": "outcome"}), "blob": frame.decode("latin-1")}


def _frame(text: bytes, blob: bytes) -> bytes:
    return struct.pack("!II", len(text), len(blob)) + text + blob
