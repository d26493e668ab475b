"""Jobs of several steps, that die between and inside them."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from jobs.engine import CircuitOpen, Context, Payload, Permanent, Retry, job
from tests.engine.samples.jobs import Told, tell

SOON = Retry(max_retries=3, first=timedelta(0), longest=timedelta(0))


class Dying(Payload):
    """Where to tell, and where to die for the first time: before, inside or after the step, or not at all.

    Or it `waits` inside for the file `go`.
    """

    folder: str
    where: str = ""
    name: str = "job"


def _die_once(payload: Dying, where: str) -> None:
    marker = Path(payload.folder, "died")
    if payload.where == where and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@job("stepwise.charges")
def charges(payload: Dying, context: Context) -> list[str]:
    """Charges once, then sends a mail once; gives the receipt and the key under which it charged."""
    charge, mail = context.once("charge"), context.once("mail")

    def take_money() -> str:
        tell(Told(folder=payload.folder), f"charged {charge.id.removeprefix(context.job_id)}")
        _die_once(payload, "inside")
        while payload.where == "waits" and not Path(payload.folder, "go").exists():
            time.sleep(0.01)
        return "receipt 7"

    def ask() -> str:
        tell(Told(folder=payload.folder), "asked")
        return "receipt 7, as the provider says"

    _die_once(payload, "before")
    receipt = charge.run(take_money, in_doubt=ask)
    _die_once(payload, "after")
    mail.run(lambda: tell(Told(folder=payload.folder), "mailed"))
    return [receipt]


@job("stepwise.repeats")
def repeats(payload: Dying, context: Context) -> str:
    """A step that may be repeated, since nobody says what to do when in doubt."""

    def write() -> str:
        tell(Told(folder=payload.folder), "wrote")
        _die_once(payload, "inside")
        return "written"

    return context.once("write").run(write)


@job("stepwise.stumbles", retry=SOON)
def stumbles(payload: Told, context: Context) -> str:
    """Its first step holds; its second fails twice."""
    context.once("first").run(lambda: tell(payload, "first"))

    def second() -> str:
        tell(payload, "second")
        if context.attempt < 3:
            raise ConnectionError("not yet")
        return "done"

    return context.once("second").run(second)


@job("stepwise.fails", retry=Retry(max_retries=0))
def fails(payload: Told, context: Context) -> str:
    """Fails for good behind its first step, unless there is a file NAME.go."""
    context.once("first").run(lambda: tell(payload, "first"))
    if not Path(payload.folder, f"{payload.name}.go").exists():
        raise Permanent("not today")
    return "well"


billed: list[str] = []


class Bill(Payload):
    """Whom to bill, the error that comes of it the first time, how often a run tries itself, and what to do then."""

    customer: str
    error: str = ""
    tries: int = 1
    then: str = ""


ERRORS = {"ConnectionError": ConnectionError, "ConnectionRefusedError": ConnectionRefusedError}


@job("stepwise.bills", retry=Retry(max_retries=2, first=timedelta(0), longest=timedelta(0)))
def bills(payload: Bill, context: Context) -> str:
    """Bills once; a person looks where nobody knows."""

    def bill() -> str:
        billed.append(payload.customer)
        if payload.error == "CircuitOpen" and len(billed) == 1:
            raise CircuitOpen("not now", timedelta(0))
        if payload.error and len(billed) == 1:
            raise ERRORS[payload.error]
        return f"billed {payload.customer}"

    def ask() -> str:
        raise Permanent("a person looks")

    step = context.once("bill")
    for left in reversed(range(payload.tries)):
        try:
            told = step.run(bill, in_doubt=ask, not_done=(ConnectionRefusedError,))
        except ConnectionError:
            if left == 0:
                raise
    if payload.then == "fail":
        raise Permanent("what follows broke")
    return step.id if payload.then == "tell" else told
