"""Calls to providers (an LLM, an embedding service) under their lane's circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from jobs.engine.breakers import Breakers
from jobs.engine.errors import BrokerUnavailable, Cancelled, CircuitOpen, Interrupted, ProviderFailed, TimedOut

if TYPE_CHECKING:
    from jobs.engine.breakers import Verdict

LOOK_AGAIN = 1.0
"""Seconds for which a closed breaker is taken to be closed still."""
FAILURES = (ProviderFailed, ConnectionError, TimeoutError, TimedOut)
SAYS_NOTHING = (CircuitOpen, Cancelled, Interrupted)
log = structlog.get_logger("providers")
_seen_closed: dict[tuple[str, str], float] = {}


class Providers:
    """The providers as one lane's jobs call them; breakers that can't be asked stop nobody."""

    def __init__(self, breakers: Breakers, lane: str) -> None:
        self._breakers, self._lane = breakers, lane

    @contextmanager
    def calling(self, name: str) -> Iterator[None]:
        """A call to the provider: its failures count, and any other end shows that it answers.

        A failure is ProviderFailed, ConnectionError, TimeoutError or the job's own TimedOut. Raises CircuitOpen at once
        while the breaker is open, whereupon the job waits without spending an attempt; NotFound for what is no name.
        """
        self._enter(name)
        try:
            yield
        except FAILURES as error:
            self._tell(name, error)
            raise
        except SAYS_NOTHING:
            raise
        except Exception:
            self._tell(name, None)
            raise
        else:
            self._tell(name, None)

    def _enter(self, name: str) -> None:
        key, now = (self._lane, name), time.monotonic()
        if _seen_closed.get(key, 0.0) > now:
            return
        try:
            verdict = self._breakers.look(self._lane, name)
        except BrokerUnavailable:
            return
        self._remember(key, verdict)
        if verdict.state == "open":
            raise CircuitOpen(f"{name} has failed too often of late", verdict.wait)

    def _tell(self, name: str, error: BaseException | None) -> None:
        key = (self._lane, name)
        try:
            if error is None:
                self._remember(key, self._breakers.worked(self._lane, name))
                return
            after = error.after if isinstance(error, ProviderFailed) else None
            self._remember(key, self._breakers.failed(self._lane, name, type(error).__name__, after))
        except BrokerUnavailable as away:
            log.warning("breaker not told", provider=name, lane=self._lane, reason=str(away))

    def _remember(self, key: tuple[str, str], verdict: Verdict) -> None:
        if verdict.state == "closed":
            _seen_closed[key] = time.monotonic() + LOOK_AGAIN
        else:
            _seen_closed.pop(key, None)
