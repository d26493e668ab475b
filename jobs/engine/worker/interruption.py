"""Stopping a thread's work from another thread: an exception is raised in it between two bytecodes, or not at all."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
_of_thread = threading.local()


class Gate(Protocol):
    """A lock that its owner may take again."""

    def acquire(self, blocking: bool = True) -> bool:
        """Take it; False where somebody else has it."""

    def release(self) -> None:
        """Give it back."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None: ...


def gate() -> Gate:
    """The calling thread's lock: while it holds it, once or several times, nothing is raised in it from outside."""
    try:
        lock: Gate = _of_thread.gate
    except AttributeError:
        lock = _of_thread.gate = threading.RLock()
    return lock


class Turn(Generic[T]):
    """One call of a function in the thread that makes the turn; another thread may raise one exception in it.

    Python delivers the exception when the thread next runs bytecode: a call that blocks in C is not cut short.
    """

    def __init__(self) -> None:
        self._thread, self._gate = threading.get_ident(), gate()
        self._open: list[bool] = []  # whoever pops the one entry decides whether the call ends undisturbed
        self._sent = threading.Event()

    def take(self, function: Callable[[], T], otherwise: Callable[[BaseException], T]) -> T:
        """Call `function`; what is raised by it or in it goes to `otherwise`. Nothing is raised after the return."""
        results: list[T] = []
        raised: list[BaseException] = []
        self._open.append(True)
        while True:
            try:
                if not results:
                    results.append(otherwise(raised[-1]) if raised else function())
                self._close()
                return results[0]
            except BaseException as error:
                raised.append(error)
                if len(raised) > 2:  # one of the function's and one from outside, so `otherwise` itself is broken
                    raise

    def interrupt(self, error: type[BaseException]) -> bool:
        """Raise `error`, made without arguments, in the call if that has begun and not ended nor been interrupted.

        False where the thread holds its gate: then try again.
        """
        if not self._gate.acquire(blocking=False):
            return False
        try:
            self._open.pop()
        except IndexError:
            return True
        else:
            _set(self._thread, error)
            self._sent.set()
            return True
        finally:
            self._gate.release()

    def _close(self) -> None:
        """After this, nothing more is raised: what was on its way is dropped."""
        try:
            self._open.pop()
        except IndexError:
            self._sent.wait()
            _set(self._thread, None)


def _set(thread: int, error: type[BaseException] | None) -> None:
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
