"""Which addresses of the internet a stranger's URL may lead to, looked up once and within one deadline."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread

from jobs.engine.errors import Permanent, Retryable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
)
"""What `is_global` lets through although it is special or carries an IPv4 address (IANA special-purpose registries)."""


def look_up(host: str) -> list[str]:
    """Ask the system, for however long it takes. Raises OSError or ValueError for what has no address."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Deadline:
    """The moment a whole exchange must have ended by."""

    def __init__(self, timeout: timedelta) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout.total_seconds()

    def left(self, at_most: float | None = None) -> float:
        """Seconds left, never more than `at_most`. Raises Retryable when none are."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise Retryable(f"the server did not finish within {self.timeout.total_seconds():g} s")
        return seconds if at_most is None else min(seconds, at_most)


def public_addresses_of(host: str, deadline: Deadline, *, allow_private: bool) -> list[str]:
    """Every address of a host name. Raises Permanent when one of them is not public, Retryable when there is none."""
    found = resolve(host, deadline)
    if not allow_private and not all(is_public(ipaddress.ip_address(address)) for address in found):
        raise Permanent(f"{host} is not a public address: only addresses on the internet can be reached")
    return found


def resolve(host: str, deadline: Deadline, lookup: Callable[[str], list[str]] = look_up) -> list[str]:
    """Every address of a host name, in the system's order. Raises Retryable when there is none in time.

    The system's own look-up can't be given a time: a thread waits for it, and is left behind when it takes too long.
    """
    answers: SimpleQueue[list[str] | None] = SimpleQueue()

    def look() -> None:
        try:
            answers.put(lookup(host))
        except (OSError, ValueError):
            answers.put(None)

    left = deadline.left()
    Thread(target=look, name="look-up", daemon=True).start()
    try:
        found = answers.get(timeout=left)
    except Empty:
        raise Retryable(f"{host} could not be looked up in time") from None
    if not found:
        raise Retryable(f"{host} can't be found")
    return found


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one on the internet: no private, local, multicast, mapped or translated one."""
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return False
    return not any(address in network for network in NOT_PUBLIC if network.version == address.version)
