"""Keeping the ledger in the background of a process: of all processes that could, one leads."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import redis
import structlog

from jobs.engine import broker, keys, registry
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.ledger.excuses import in_a_line
from jobs.engine.scripts import script
from jobs.engine.server_names import Naming

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.ledger.relay import Relay

LEASE = timedelta(seconds=1)
"""The lead is lost when its owner has not renewed it for so long."""
EVERY = timedelta(milliseconds=100)
LOOK_AGAIN = timedelta(milliseconds=250)
LONGEST_PAUSE = timedelta(seconds=5)
NEW_SERVER = timedelta(seconds=1)
"""So often in a pause it is asked whether another Redis answers: workers wait for somebody to look at that."""
PATIENCE = {"scheduler": timedelta(0), "web": timedelta(seconds=0.3), "worker": timedelta(seconds=0.6)}
"""How long the lead must be free before a process takes it: first those that have least else to do."""
ANSWER_WITHIN, END_WITHIN = timedelta(seconds=0.8), timedelta(seconds=5)
log = structlog.get_logger("ledger")


class Keeper(threading.Thread):
    """A thread that relays, follows and audits while it leads; several side by side are safe.

    SQLAlchemy is loaded by the first lead, not before.
    """

    def __init__(self, fleet: Fleet, place: str) -> None:
        super().__init__(name="ledger", daemon=True)
        self._fleet, self._patience = fleet, PATIENCE[place].total_seconds()
        self._server = Naming()
        self._client = broker.connect(
            fleet.settings, purpose="ledger", socket_timeout=ANSWER_WITHIN, naming=self._server
        )
        self._name = f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}"
        self._stopping, self._nudged, self._wake = threading.Event(), False, threading.Event()
        self._free_since: float | None = None
        self._relay: Relay | None = None
        self.leads, self.failures = False, 0

    def __enter__(self) -> Self:
        if registry.any_durable():
            self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End soon; another process takes the lead."""
        self._stopping.set()
        self._wake.set()
        if self.is_alive() and self is not threading.current_thread():
            self.join(END_WITHIN.total_seconds())

    def nudge(self) -> None:
        """Something is about to be committed that nobody pushes."""
        self._nudged = True
        self._wake.set()

    def run(self) -> None:
        """Until `stop`; signals are for the main thread."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._stopping.is_set():
            try:
                wait = self._turn()
            except BrokerUnavailable:
                self.leads, self._free_since, wait = False, 0.0, LOOK_AGAIN  # the first to find it again leads
            except Exception as error:
                wait = self._failed(error)
            self._rest(wait)
        self._end()

    def _rest(self, wait: timedelta) -> None:
        until, server = time.monotonic() + wait.total_seconds(), self._server.name
        while (left := until - time.monotonic()) > 0 and server == self._server.name:
            if self._wake.wait(min(left, NEW_SERVER.total_seconds())):
                break
            if left > NEW_SERVER.total_seconds():
                with contextlib.suppress(redis.RedisError):
                    self._server.ask_again(self._client)
        self._wake.clear()

    def _turn(self) -> timedelta:
        epoch, wait = self._lead()
        if epoch is None and not self._nudged:
            return wait
        relay = self._relay = self._relay or self._new_relay()
        if epoch is not None:
            busy = relay.turn(epoch)
            if self.failures:
                log.info("this process can keep the ledger again")
            self.failures = 0
            return timedelta(0) if busy else EVERY
        self._nudged = False
        relay.look_for_new()
        return EVERY

    def _end(self) -> None:
        """What this process's last jobs came to is written before it goes; nobody else may be there to do it."""
        try:
            self._patience = 0.0
            if self._lead()[0] is not None:
                (self._relay or self._new_relay()).follow()
        except Exception as error:
            log.warning("the last outcomes are left to the next keeper of the ledger", error=repr(error))
        self._resign()

    def _failed(self, error: Exception) -> timedelta:
        """Let somebody else try; how long to wait."""
        if self.failures == 0:
            known = in_a_line(error)
            log.error("this process can't keep the ledger, trying again", reason=known, exc_info=known is None)
        doubled: int = 2 ** min(self.failures, 10)
        self.failures += 1
        self._resign()
        return min(LOOK_AGAIN * doubled, LONGEST_PAUSE)

    def _lead(self) -> tuple[str | None, timedelta]:
        """Take or keep the lead; the life of Redis while this thread leads, else None and when to ask again.

        Raises BrokerUnavailable.
        """
        now = time.monotonic()
        wants = self.leads or (self._free_since is not None and now - self._free_since >= self._patience)
        milliseconds = LEASE // timedelta(milliseconds=1)
        with translate_errors():
            word, epoch, taken_for = script("ledger_lead")(
                self._client, keys.PREFIX, self._name, milliseconds, int(wants or not self._patience), uuid4().hex
            )
        if word == b"taken":
            self._free_since = None
        elif self._free_since is None:
            self._free_since = now
        if self.leads != (word == b"ours"):
            self.leads = not self.leads
            log.debug("keeping the ledger" if self.leads else "another process keeps the ledger", name=self._name)
        wait = timedelta(milliseconds=taken_for) if taken_for else LOOK_AGAIN
        return (epoch.decode() if self.leads else None), wait

    def _new_relay(self) -> Relay:
        from jobs.engine.ledger.relay import Relay

        return Relay(self._fleet, self._client, self._server)

    def _resign(self) -> None:
        if self.leads:
            self.leads, self._free_since = False, None
            try:
                with translate_errors():
                    script("ledger_lead")(self._client, keys.PREFIX, self._name, 0, 0, "")
            except BrokerUnavailable:
                pass
