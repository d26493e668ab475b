"""How many connections a web process may hold, by the number of files that the system lets it open."""

from __future__ import annotations

import resource
from contextlib import suppress
from dataclasses import dataclass

RESERVE = 250  # pools to Redis and the database, listeners, log and stored files
FILES_A_LIVE_CONNECTION = 3  # the client, Redis, and what waits for both
MOST_LIVE, MOST_CONNECTIONS = 1000, 2000
ENOUGH = RESERVE + MOST_LIVE * (FILES_A_LIVE_CONNECTION - 1) + MOST_CONNECTIONS


@dataclass(frozen=True)
class Room:
    """What one process may hold: live connections, all connections with them, and the files that it may open."""

    live: int
    connections: int
    files: int

    @property
    def low(self) -> bool:
        """Whether the system allows less than the process could serve."""
        return self.files < ENOUGH


def raise_limit() -> Room:
    """Raise this process' limit of open files as far as it may, and divide them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return divide(MOST_CONNECTIONS * 100 if soft == resource.RLIM_INFINITY else soft)


def divide(files: int) -> Room:
    """The room in `files` open files; with very few of them some connections are served all the same."""
    free = max(files - RESERVE, 80)
    live = min(MOST_LIVE, free // (FILES_A_LIVE_CONNECTION + 1))
    connections = min(MOST_CONNECTIONS, free - live * (FILES_A_LIVE_CONNECTION - 1))
    return Room(live, connections, files)
