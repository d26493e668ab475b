"""Jobs that print in every way, and jobs that save checkpoints."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import structlog

from jobs.engine import Context, Payload, Retry, Secret, job
from tests.engine.samples.jobs import Told, tell

NONE = Retry(max_retries=0)


class Words(Payload):
    words: str
    times: int = 1


@job("printing.says", topics=lambda p: ["workspace:w1"])
def says(payload: Words, context: Context) -> None:
    """Prints its words."""
    for _ in range(payload.times):
        print(payload.words)


@job("printing.everything", timeout=timedelta(minutes=5))
def everything(payload: Told, context: Context) -> None:
    """Prints in every way there is, then waits for NAME.go."""
    print("printed")
    print("complained", file=sys.stderr)
    os.system("echo from a process")
    ctypes.CDLL(None).puts(b"from C")
    os.write(2, b"caf\xe9\x00\n")
    warnings.warn("careful", stacklevel=1)
    context.log.info("counted", value=7, password="hunter2")
    context.log.debug("in detail")
    structlog.get_logger("library").warning("watch out")
    while not Path(payload.folder, f"{payload.name}.go").exists():
        context.check()
        time.sleep(0.01)
    print("done")


class Key(Payload):
    key: Secret[str]


@job("printing.reveals")
def reveals(payload: Key, context: Context) -> None:
    """Prints a secret of its payload."""
    print("the key is", payload.key.reveal())
    os.system(f"echo and again {payload.key.reveal()}")
    context.log.info("a library said", header=f"X-Key {payload.key.reveal()}")


@job("printing.dies", retry=NONE)
def dies(payload: Words, context: Context) -> None:
    """Prints, and is killed the next moment."""
    print(payload.words)
    os.write(2, b"just before\n")
    os.kill(os.getpid(), signal.SIGKILL)


@job("printing.hangs", retry=NONE)
def hangs(payload: Told, context: Context) -> None:
    """Prints, and neither ends nor looks whether it should."""
    print("I never listen")
    tell(payload, "began")
    while True:
        time.sleep(1)


@job("printing.fails", retry=Retry(max_retries=1, first=timedelta(0), longest=timedelta(0)))
def fails(payload: Words, context: Context) -> None:
    """Prints, and fails, twice."""
    print(payload.words, context.attempt)
    raise ValueError("never shown to users")


@job("printing.leaves", retry=NONE)
def leaves(payload: Told, context: Context) -> None:
    """Leaves a process behind that prints later."""
    print("mine")
    os.system(f"(while [ ! -e {payload.folder}/{payload.name}.go ]; do sleep 0.02; done; echo late; touch "
              f"{payload.folder}/{payload.name}.gone) &")  # fmt: skip


@job("printing.counts", timeout=timedelta(minutes=5))
def counts(payload: Told, context: Context) -> list[int]:
    """Counts to ten; from three on each number waits for NAME.go, and each is saved."""
    done: list[int] = context.resume() or []
    tell(payload, f"began {len(done)} {os.getpid()}")
    for number in range(len(done), 10):
        while number >= 3 and not context.stopping and not Path(payload.folder, f"{payload.name}.go").exists():
            context.check()
            time.sleep(0.01)
        done.append(number)
        tell(payload, f"counted {number}")
        context.checkpoint(done)
    return done


@job("printing.keeps", retry=NONE)
def keeps(payload: Words, context: Context) -> None:
    """Saves its words, `times` of them, then fails."""
    context.checkpoint(payload.words * payload.times)
    raise ValueError("after saving")


@job("printing.gives_up", retry=Retry(max_retries=2, first=timedelta(0), longest=timedelta(0)))
def gives_up(payload: Told, context: Context) -> None:
    """Pretends that its worker stops."""
    from jobs.engine import Interrupted

    tell(payload, "began")
    raise Interrupted("I would rather not")


class Floods(Payload):
    how: str
    lines: int


@job("printing.chats", retry=NONE)
def chats(payload: Floods, context: Context) -> None:
    """Prints many lines, in one way or another, and is killed the next moment."""
    for number in range(payload.lines):
        if payload.how == "log":
            context.log.info(f"line {number}")
        elif payload.how == "below":
            os.write(2, b"line %d\n" % number)
        else:
            print("line", number)
    print("and half a line", end="", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


@job("printing.goes_on", timeout=timedelta(minutes=5), retry=NONE)
def goes_on(payload: Told, context: Context) -> None:
    """Prints line after line, tells each as well, and never looks whether it should end."""
    for number in range(800):
        print(context.attempt, number)
        tell(payload, f"{context.attempt} {number}")
        time.sleep(0.001)
    while True:
        time.sleep(1)


@job("printing.floods", retry=NONE)
def floods(payload: Words, context: Context) -> None:
    """Prints its words with a number, `times` of them, then fails."""
    for number in range(payload.times):
        print(payload.words, number)
    raise ValueError("after all that")


@job("printing.reveals_and_dies", retry=NONE)
def reveals_and_dies(payload: Key, context: Context) -> None:
    """Prints a secret of its payload below Python and as half a line, and is killed the next moment."""
    key = payload.key.reveal()
    os.write(2, f"the key is {key}\n".encode())
    print("and again", key, end="")
    os.kill(os.getpid(), signal.SIGKILL)
