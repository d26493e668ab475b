"""Ctrl-C, SIGTERM and a closed terminal as one exception, raised once; later ones can hurry the stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deploy.launcher.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_caught: list[int] = []
_deferring: list[None] = []


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread at the first signal.

    Python swallows what is raised while an object is finalized; `check` raises it again.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _set(signal.SIG_IGN)
        _caught.append(number)
        if not _deferring:
            raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _caught.clear()


def check() -> None:
    """Raise Interrupted when a signal has come since `interruptible` began."""
    if _caught:
        raise Interrupted


@contextmanager
def deferred() -> Iterator[None]:
    """Raise Interrupted at the end of the block when a signal comes within it: for a step that must be whole.

    A fork is one: what is raised in its hooks is swallowed, and leaves logging's lock held for good.
    """
    _deferring.append(None)
    try:
        yield
    finally:
        _deferring.pop()
    if not _deferring:
        check()


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
