"""Which commands Redis runs for a job, from scripts and from connections, by what their key is for, and their cost."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis

SCRIPTS = ("evalsha", "eval", "fcall")
LINE = re.compile(rb'^\+[0-9.]+ \[\d+ ([^\]]+)\] "([^"]*)"(?: "((?:[^"\\]|\\.)*)")?')
PURPOSES: Sequence[tuple[str, str]] = (
    ("lease and fence", r"fleet:leases|fleet:lease-reply|fleet:batch"),
    ("execution records", r"wip:|execution:|executions:|worker:.*:executions"),
    ("events", r"events:|event-clock"),
    ("result and retention", r"results:|finished:|fleet:finished|fleet:ended|fleet:log:|fleet:follow-ups"),
    ("the job's hash", r"job:"),
    ("queues", r"queue:|fleet:inbox|fleet:overflow|queues$"),
)
"""What a key is for; the first that fits, after the prefix."""


@dataclass
class Seen:
    """How often each command of a script ran for each purpose; `others` came over connections."""

    inside: Counter[tuple[str, str]] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, line: bytes) -> None:
        """Count a line of MONITOR."""
        found = LINE.match(line)
        if found is None:
            return
        command = found[2].decode().lower()
        if found[1] == b"lua":
            self.inside[purpose(command, (found[3] or b"").decode(errors="replace")), command] += 1
        else:
            self.others[command] += 1


def purpose(command: str, key: str, prefix: str = "rq") -> str:
    """What a script's command is for; `other` for what has no key or belongs to none."""
    rest = key.removeprefix(f"{prefix}:")
    return next((name for name, pattern in PURPOSES if re.match(pattern, rest)), "other")


@contextmanager
def watching(port: int) -> Iterator[Seen]:
    """Count everything that the server runs meanwhile; it is slower while watched."""
    seen, over = Seen(), threading.Event()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"MONITOR\r\n")
        sock.recv(5)
        reader = threading.Thread(target=_read, args=(sock, seen, over), daemon=True)
        reader.start()
        yield seen
        over.set()
        sock.shutdown(socket.SHUT_WR)
        reader.join(10)


def cost(client: redis.Redis) -> Mapping[str, float]:
    """Microseconds that each command took on average since the statistics were reset."""
    stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): float(each["usec_per_call"]) for name, each in stats.items()}


def inside_scripts(client: redis.Redis) -> float:
    """Microseconds that scripts took since the statistics were reset, their commands included."""
    stats = client.info("commandstats")
    return float(sum(stats.get(f"cmdstat_{name}", {}).get("usec", 0) for name in SCRIPTS))


def _read(sock: socket.socket, seen: Seen, over: threading.Event) -> None:
    rest = b""
    sock.settimeout(1)
    while True:
        try:
            piece = sock.recv(1 << 20)
        except TimeoutError:
            if over.is_set():
                return
            continue
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\r\n")
        for line in lines:
            seen.add(line)
