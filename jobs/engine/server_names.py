"""Whose data it is: a server's name, which changes when it starts anew or takes over, and who may lease from it."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

import redis
import structlog

from jobs.engine import keys

LONGEST = timedelta(seconds=10)
"""So long a worker waits for the ledger to look at what a server has; then it goes on: the database may be away."""
NAMELESS = "-"
_FIELDS = re.compile(rb"^(?:run_id|master_replid):(\w+)", re.MULTILINE)
log = structlog.get_logger("fleet")


def name_of(server: bytes, replication: bytes) -> str:
    """The name of the server that has answered INFO so: of its run, and of the history that its data belongs to."""
    return b":".join(_FIELDS.findall(server) + _FIELDS.findall(replication)).decode() or NAMELESS


class NotLookedAt(redis.ConnectionError):
    """The ledger has not looked at what this server has: nothing is leased from it yet."""


class Naming:
    """Knows the server of the newest connection of a client that it is the admission of."""

    def __init__(self) -> None:
        self.name = ""

    def check(self, connection: Any) -> None:
        """Ask the server at the other end for its name."""
        self.name = name_of(*_asked(connection, ("INFO", "server"), ("INFO", "replication")))

    def ask_again(self, client: redis.Redis) -> None:
        """Ask on a connection that stays: a server gets another name when its first replica comes or its last is gone.

        Raises redis.ConnectionError and the like.
        """
        connection = client.connection_pool.get_connection()
        try:
            self.check(connection)
        finally:
            client.connection_pool.release(connection)


class Admission:
    """Lets connections over which jobs are leased be used once the ledger has looked at what their server has.

    A server may have come back from an older file, or be a replica that missed the last moments: it would hand out jobs
    whose rows in the ledger have ended. Where no ledger is kept nobody waits.
    """

    def __init__(self) -> None:
        self._waits_for, self._since = "", 0.0

    def check(self, connection: Any) -> None:
        """Raises NotLookedAt where it is too early."""
        asked = ("GET", keys.LEDGER_SERVER), ("INFO", "server"), ("INFO", "replication")
        noted, *about = _asked(connection, *asked)
        name = name_of(*about)
        known = noted.partition(b" ")[0].decode() if noted else NAMELESS
        if name == known or NAMELESS in (name, known):
            return
        now = time.monotonic()
        if name != self._waits_for:
            self._waits_for, self._since = name, now
        if now - self._since < LONGEST.total_seconds():
            raise NotLookedAt("this Redis has other data than before: the ledger looks at it first")
        log.warning("jobs are leased though the ledger has not looked at what Redis has: some may run again")


def _asked(connection: Any, *commands: tuple[str, str]) -> list[Any]:
    for each in commands:
        connection.send_command(*each, check_health=False)
    return [_read(connection) for _ in commands]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError:
        return b""


ADMISSION = Admission()
"""That of this process."""
