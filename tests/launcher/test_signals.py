"""An interruption is never lost."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from deploy.launcher import signals
from deploy.launcher.errors import Interrupted


def test_an_interruption_that_python_swallowed_is_raised_at_the_next_look() -> None:
    """What is raised in a callback of C code, such as those of a fork, goes no further."""
    with signals.interruptible():
        signals.check()
        with suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            signals.check()


def test_an_earlier_interruption_is_forgotten_by_the_next_run() -> None:
    with suppress(Interrupted), signals.interruptible():
        os.kill(os.getpid(), signal.SIGINT)
    with signals.interruptible():
        signals.check()


def test_a_signal_within_a_step_that_must_be_whole_is_raised_at_its_end() -> None:
    done = []
    with pytest.raises(Interrupted), signals.interruptible():
        with signals.deferred():
            with signals.deferred():
                os.kill(os.getpid(), signal.SIGTERM)
            done.append("whole")
        done.append("more")
    assert done == ["whole"]
