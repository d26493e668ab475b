"""An exception raised in a thread from outside hits the one call it is meant for, or nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.engine.errors import TimedOut
from jobs.engine.worker import process
from jobs.engine.worker.interruption import Turn
from tests.conftest import wait_until

RACES = 500


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Call:
    """A function called in a turn of its own in another thread."""

    def __init__(self, pool: ThreadPoolExecutor, function: Callable[[], str]) -> None:
        self.begun = threading.Event()
        self._turns: list[Turn[str]] = []
        self._future = pool.submit(self._take, function)
        self.begun.wait()

    def _take(self, function: Callable[[], str]) -> str:
        turn = Turn[str]()
        self._turns.append(turn)

        def begin() -> str:
            self.begun.set()
            return function()

        return turn.take(begin, lambda error: type(error).__name__)

    def interrupt(self) -> bool:
        return self._turns[0].interrupt(TimedOut)

    def result(self) -> str:
        return self._future.result(30)


def busy_until(done: threading.Event) -> str:
    while not done.is_set():
        pass
    return "went through"


def test_a_busy_call_is_interrupted(pool: ThreadPoolExecutor) -> None:
    call = Call(pool, lambda: busy_until(threading.Event()))
    assert call.interrupt()
    assert call.result() == "TimedOut"


def test_a_call_is_interrupted_once_only(pool: ThreadPoolExecutor) -> None:
    done, seen = threading.Event(), threading.Event()

    def swallowing() -> str:
        try:
            busy_until(threading.Event())
        except TimedOut:
            seen.set()
        return busy_until(done)

    call = Call(pool, swallowing)
    call.interrupt()
    seen.wait()
    call.interrupt()
    done.set()
    assert call.result() == "went through"


def test_what_has_ended_is_not_interrupted(pool: ThreadPoolExecutor) -> None:
    call = Call(pool, lambda: "done")
    assert call.result() == "done"
    assert call.interrupt()
    assert pool.submit(lambda: sum(range(1000))).result(30) == 499500


def test_an_error_of_the_call_itself_is_told(pool: ThreadPoolExecutor) -> None:
    def broken() -> str:
        raise SystemExit(3)

    assert Call(pool, broken).result() == "SystemExit"


def test_a_thread_is_not_interrupted_in_the_middle_of_a_message(pool: ThreadPoolExecutor) -> None:
    inside, done = threading.Event(), threading.Event()
    whole: list[str] = []

    def sends() -> str:
        with process.undisturbed():
            inside.set()
            whole.append(busy_until(done))
        return busy_until(threading.Event())

    call = Call(pool, sends)
    inside.wait()
    assert not call.interrupt()
    done.set()
    wait_until(call.interrupt)
    assert (call.result(), whole) == ("TimedOut", ["went through"])


def test_an_interruption_at_the_last_moment_never_hits_what_comes_next(pool: ThreadPoolExecutor) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    outcomes, race = set(), 0
    while race < RACES or outcomes < {"TimedOut", "went through"}:  # on a busy machine one wins for long
        done = threading.Event()
        call = Call(pool, lambda done=done: busy_until(done))
        following = pool.submit(lambda: sum(range(200)))
        done.set()
        sum(range(race % RACES * 60 * (1 + race // RACES)))
        assert call.interrupt()
        outcomes.add(call.result())
        assert following.result(30) == 19900
        race += 1
    sys.setswitchinterval(before)
    assert outcomes == {"TimedOut", "went through"}
