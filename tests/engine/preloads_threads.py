"""A job type whose preload= starts a thread, which no fork of the process will have."""

from __future__ import annotations

import threading

from jobs.engine import Context, Payload, job


class Nothing(Payload):
    pass


@job("preloading.idle", preload=("tests.engine.preloads_threads:start",))
def idle(payload: Nothing, context: Context) -> None:
    """Does nothing."""


def start() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
