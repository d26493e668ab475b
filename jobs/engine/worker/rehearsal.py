"""Runs nothing, as a child runs jobs, before there are children: they inherit what CPython learns about its code.

CPython counts how often code has run and rewrites it (PEP 659), numbers types and sizes objects as it meets them. What
every child would write by itself, each on pages of its own, is then written once, in pages that all of them share.
"""

from __future__ import annotations

import _weakrefset
import gc
import os
import random
import signal
import socket
import threading
from collections.abc import Sequence
from types import ModuleType

import structlog

from jobs.engine import lanes, registry
from jobs.engine.context import Context
from jobs.engine.fleet import Fleet
from jobs.engine.job_types import JobType
from jobs.engine.payloads import Payload
from jobs.engine.policy import Policy, Queue, Retention, Retry
from jobs.engine.worker import capture, child, dense_pages, lease_clock, page, process, wire
from jobs.engine.worker.quota import Quota

ROUNDS, RUNS = 30, 2
"""As often as CPython looks at a class before it knows how many attributes its objects have; runs in each."""
TIMEOUT = 60.0
LONG = 1e6
"""Seconds."""
BEFORE_THE_FIRST = (threading, random, capture, child, process, _weakrefset)
"""What a child runs before it hears of jobs, with what runs in every fork; so does all that has "fork" in its name."""
log = structlog.get_logger("worker")


class Nothing(Payload):
    """The payload of a job that does nothing."""

    number: int = 0


def rehearse(fleet: Fleet, around: ModuleType) -> None:
    """Be a child with jobs of a type that nobody else knows, without the application's middlewares.

    `around` is the module that makes children, whose code they run too.
    To be called in a process without other threads. A rehearsal that fails is logged: nothing depends on it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    alarm = signal.getsignal(signal.SIGALRM)
    try:
        with registry.also(_nothing_type()):
            _rehearse(_without_middlewares(fleet), (around, *BEFORE_THE_FIRST))
    except Exception:
        log.exception("rehearsal failed: children will take more memory")
    finally:
        process.no_time_limit()
        signal.signal(signal.SIGALRM, alarm)


def _rehearse(fleet: Fleet, modules: Sequence[ModuleType]) -> None:
    with dense_pages.Recorder() as recorder:
        _round(fleet)
    gc.unfreeze()
    files = {module.__file__ for module in modules}
    codes = [code for code in dense_pages.all_code() if code.co_filename in files or "fork" in code.co_name]
    dense_pages.fill_gaps()
    dense_pages.gather([*recorder.codes, *codes])
    for _ in range(ROUNDS):
        _round(fleet)


def _nothing_type() -> JobType[Nothing]:
    policy = Policy(Queue.DEFAULT, lanes.DEFAULT_LANE, None, Retry(), Retention(), None, ())
    return JobType("rehearsal.run", _do_nothing, Nothing, policy)


def _do_nothing(payload: Nothing, context: Context) -> None:
    return None


def _without_middlewares(fleet: Fleet) -> Fleet:
    """A fleet with the same keys that nobody else uses."""
    return Fleet(fleet.settings.model_copy(update={"job_middleware": (), "otel_exporter_otlp_endpoint": None}))


def _round(fleet: Fleet) -> None:
    """One child's life."""
    ours, theirs = socket.socketpair()
    descriptor = page.create()
    its = page.Page(descriptor)
    its.reset(lease_clock.now() + LONG)
    for number in range(RUNS):
        ours.sendall(wire.pack_batch([_run(fleet, number)]))
    ours.shutdown(socket.SHUT_WR)
    taken = capture.Capture()
    taken.start()
    try:
        child.Seat(fleet, child.InMainThread(), taken, Quota(None)).serve(theirs, descriptor)
    finally:
        taken.stop()
        its.close()
        os.close(descriptor)
        ours.close()
        theirs.close()


def _run(fleet: Fleet, number: int) -> Sequence[object]:
    """The fields of a `Run`."""
    job_id = f"rehearsal-{number}"
    data = fleet.keys.seal("rehearsal.run", "").data(job_id, f'{{"number":{number}}}', "")
    return job_id, job_id, data, "rehearsal.run", "", 1, TIMEOUT
