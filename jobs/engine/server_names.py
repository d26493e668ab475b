"""Whose data it is: a server's name, which changes when it starts anew or takes over, and who may lease from it."""

from __future__ import annotations

import math
import re
import time
from datetime import timedelta
from typing import Any

import redis
import structlog

from jobs.engine import keys, registry

LONGEST = timedelta(seconds=10)
"""So long a worker waits for the ledger to look at what a server has; then it goes on: the database may be away."""
OTHERS = timedelta(seconds=2)
"""So long where the release has no durable types: others may keep the ledger, and whoever does is quick."""
MOST = 8
"""Servers that are remembered to have been waited for."""
NAMELESS = "-"
_FIELDS = re.compile(rb"^(?:run_id|master_replid):(\w+)", re.MULTILINE)
log = structlog.get_logger("fleet")


def name_of(server: bytes, replication: bytes) -> str:
    """The name of the server that has answered INFO so: of its run, and of the history that its data belongs to."""
    return b":".join(_FIELDS.findall(server) + _FIELDS.findall(replication)).decode() or NAMELESS


class Naming:
    """Knows the server of the newest connection of a client that was made with it."""

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


class NotLookedAt(redis.ConnectionError):
    """The ledger has not looked at what this server has: nothing is leased from it yet."""


class Admission:
    """Says from when on jobs may be leased over a connection: once the ledger has looked at what its server has.

    A server may have come back from an older file, or be a replica that missed the last moments: it would hand out jobs
    whose rows in the ledger have ended. Where no ledger is kept nobody waits. For anything but leases no server has to
    be looked at first.
    """

    def __init__(self, longest: timedelta = LONGEST) -> None:
        self._longest = longest
        self._since: dict[str, float] = {}

    def admits(self, connection: Any) -> bool:
        """Whether it is late enough; the connection must have no call under way. Raises RedisError."""
        asked = ("GET", keys.LEDGER_SERVER), ("INFO", "server"), ("INFO", "replication")
        noted, *about = _asked(connection, *asked)
        name = name_of(*about)
        known = noted.partition(b" ")[0].decode(errors="replace") if noted else NAMELESS
        if name == known or NAMELESS in (name, known):
            return True
        return self._has_waited(name)

    def check(self, connection: Any) -> None:
        """Raises NotLookedAt where it is too early, and as `admits` does."""
        if not self.admits(connection):
            raise NotLookedAt("this Redis has other data than before: the ledger looks at it first")

    def _has_waited(self, name: str) -> bool:
        """Each server is waited for once, however often the connection to it is made anew."""
        now = time.monotonic()
        if name not in self._since:
            self._since = dict([*self._since.items(), (name, now)][-MOST:])
            log.info("nothing is leased until the ledger has looked at what this Redis has")
        longest = self._longest if registry.any_durable() else min(self._longest, OTHERS)
        if now - self._since[name] < longest.total_seconds():
            return False
        if self._since[name] != -math.inf:
            log.warning("jobs are leased though the ledger has not looked at what Redis has: some may run again")
            self._since[name] = -math.inf
        return True


def _asked(connection: Any, *commands: tuple[str, str]) -> list[Any]:
    for each in commands:
        connection.send_command(*each, check_health=False)
    return [_read(connection) for _ in commands]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError:
        return b""
