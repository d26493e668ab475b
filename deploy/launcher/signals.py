"""Ctrl-C, SIGTERM and a closed terminal as one exception, raised once; later ones can hurry the stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deploy.launcher.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_caught: list[int] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread at the first signal.

    Python swallows what is raised in the midst of a fork; `check` raises it again.
    """
    _caught.clear()

    def interrupt(number: int, frame: FrameType | None) -> None:
        _set(signal.SIG_IGN)
        _caught.append(number)
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise Interrupted when a signal has come since `interruptible` began."""
    if _caught:
        raise Interrupted


@contextmanager
def hurried_by(hurry: Callable[[], None]) -> Iterator[None]:
    """While stopping: the next signal calls `hurry`, once; what comes after is ignored."""

    def once(number: int, frame: FrameType | None) -> None:
        _set(signal.SIG_IGN)
        hurry()

    _set(once)
    try:
        yield
    finally:
        _set(signal.SIG_IGN)


def _set(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)
