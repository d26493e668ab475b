"""Ctrl-C, SIGTERM and a closed terminal as one exception, raised once; later ones can hurry the stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deploy.launcher.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread at the first signal."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _set(signal.SIG_IGN)
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
