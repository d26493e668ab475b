"""Small jobs that count, fail, wait, hang and die on command; what they did is told in files."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import timedelta
from pathlib import Path

from jobs.engine import Context, Payload, Permanent, Queue, Retention, Retry, Retryable, Secret, job

SOON = Retry(max_retries=3, first=timedelta(0), longest=timedelta(0))


class Number(Payload):
    value: int = 1


class Told(Payload):
    """A folder to write to and a file to wait for."""

    folder: str
    name: str = "job"


class Owned(Payload):
    tenant_id: str = ""


class Sealed(Payload):
    key: Secret[str]


@job("samples.double", retention=Retention(finished=timedelta(hours=1), finished_count=5))
def double(payload: Number, context: Context) -> dict[str, int]:
    """Twice the value."""
    return {"value": 2 * payload.value}


@job("samples.forgotten", retention=Retention(finished=timedelta(0)), topics=lambda p: ["workspace:w1"])
def forgotten(payload: Number, context: Context) -> None:
    """Not kept at all."""


@job("samples.brief", retention=Retention(finished=timedelta(minutes=10)), topics=lambda p: ["workspace:w1"])
def brief(payload: Number, context: Context) -> None:
    """Kept for less long than events are."""


@job("samples.report", topics=lambda p: ["workspace:w1"])
def report(payload: Number, context: Context) -> None:
    """Progress and a log line."""
    context.progress("counting", 10)
    context.log.info("counted", value=payload.value)
    context.progress("counting", 100)


@job("samples.flaky", retry=SOON)
def flaky(payload: Told, context: Context) -> int:
    """Fails twice, then gives the attempt's number."""
    tell(payload, f"{context.attempt}")
    if context.attempt < 3:
        raise ValueError(f"attempt {context.attempt} of a flaky job")
    return context.attempt


@job("samples.broken", retry=SOON)
def broken(payload: Told, context: Context) -> None:
    """Always fails."""
    tell(payload, f"{context.attempt} {context.is_last_attempt}")
    raise RuntimeError("it never works")


@job("samples.hopeless", retry=SOON)
def hopeless(payload: Told, context: Context) -> None:
    """Fails for good."""
    tell(payload, "ran")
    raise Permanent("the PDF is encrypted")


@job("samples.later", retry=Retry(max_retries=3, first=timedelta(hours=1)))
def later(payload: Told, context: Context) -> None:
    """Asks to be tried again in a while."""
    tell(payload, "ran")
    raise Retryable("the provider is busy", after=timedelta(minutes=10))


@job("samples.gate", timeout=timedelta(minutes=5))
def gate(payload: Told, context: Context) -> str:
    """Tells that it began, then waits for NAME.go, looking whether it was cancelled."""
    tell(payload, f"began {os.getpid()} {os.getppid()}")
    while not Path(payload.folder, f"{payload.name}.go").exists():
        context.check()
        time.sleep(0.01)
    tell(payload, "ended")
    return "went through"


@job("samples.stubborn")
def stubborn(payload: Told, context: Context) -> None:
    """Like gate, but never looks."""
    tell(payload, f"began {os.getpid()}")
    while not Path(payload.folder, f"{payload.name}.go").exists():
        time.sleep(0.01)


@job("samples.slow", timeout=timedelta(seconds=1), retry=Retry(max_retries=0))
def slow(payload: Told, context: Context) -> None:
    """Runs into its timeout."""
    tell(payload, "began")
    time.sleep(60)


@job("samples.deaf", timeout=timedelta(seconds=1), retry=Retry(max_retries=0))
def deaf(payload: Told, context: Context) -> None:
    """Swallows the timeout and goes on."""
    tell(payload, "began")
    while True:
        try:
            time.sleep(60)
        except Exception:
            tell(payload, "swallowed")


@job("samples.dies")
def dies(payload: Told, context: Context) -> None:
    """Kills its own process."""
    tell(payload, "began")
    os.kill(os.getpid(), signal.SIGKILL)


@job("samples.greedy", memory_mb=64, retry=Retry(max_retries=0))
def greedy(payload: Number, context: Context) -> int:
    """Wants more memory than it may have."""
    return len(bytearray(payload.value * 1024 * 1024))


@job("samples.only_one", unique=lambda p: p.name)
def only_one(payload: Told, context: Context) -> None:
    """One at a time for each name."""
    gate(payload, context)


@job("samples.owned")
def owned(payload: Owned, context: Context) -> str:
    """Whose job it is."""
    return context.tenant


@job("samples.sealed", queue=Queue.CRITICAL)
def sealed(payload: Sealed, context: Context) -> int:
    """The length of a secret."""
    context.log.info("used a key", key=payload.key)
    return len(payload.key.reveal())


@job("samples.no_json")
def no_json(payload: Number, context: Context) -> object:
    """A result that is no JSON."""
    return object()


@job("samples.audited", lane="audit", queue=Queue.LOW)
def audited(payload: Told, context: Context) -> None:
    """Waits like gate, in a lane of two."""
    gate(payload, context)


@job("samples.pause_me")
def pause_me(payload: Told, context: Context) -> None:
    """Tiny but for the name `held`: that waits like gate, without a look at whether it was cancelled."""
    if payload.name == "held":
        tell(payload, context.job_id)
    while payload.name == "held" and not Path(payload.folder, "held.go").exists():
        time.sleep(0.01)


@job("samples.correlated")
def correlated(payload: Number, context: Context) -> dict[str, str]:
    """Who asked for it."""
    context.log.info("line of a correlated job")
    return {"correlation_id": context.correlation_id, "tenant": context.tenant}


def tell(payload: Told, text: str) -> None:
    with Path(payload.folder, f"{payload.name}.told").open("a") as file:
        file.write(f"{text}\n")


@job("samples.parent")
def parent(payload: Told, context: Context) -> None:
    """Starts a process and waits for it."""
    with subprocess.Popen(["sleep", "600"]) as started:
        tell(payload, str(started.pid))
        started.wait()
