"""Connections that go only to the public addresses a host name had when it was first looked up, within one deadline."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from queue import Empty, SimpleQueue
from ssl import SSLContext
from threading import Thread
from typing import Any

import httpcore2

from jobs.engine import Permanent, Retryable

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


class PinnedBackend(httpcore2.NetworkBackend):
    """Resolves each host once, refuses it when any of its addresses is not public, and connects to those only."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._deadline, self._allow_private = deadline, allow_private
        self._inner = httpcore2.SyncBackend()
        self._known: dict[str, list[str]] = {}

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address that answers; Permanent for a refused host, Retryable for an unknown one."""
        failure: Exception = Retryable(f"{host} has no address")
        for address in self._addresses(host):
            try:
                left = self._deadline.left(timeout)
                stream = self._inner.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return DeadlineStream(stream, self._deadline)
        raise failure

    def _addresses(self, host: str) -> list[str]:
        if host not in self._known:
            found = resolve(host, self._deadline)
            if not self._allow_private and not all(is_public(ipaddress.ip_address(address)) for address in found):
                raise Permanent(f"{host} is not a public address: only addresses on the internet can be fetched")
            self._known[host] = found
        return self._known[host]


class DeadlineStream(httpcore2.NetworkStream):
    """A connection whose reads and writes together end by the deadline, however slowly the bytes drip."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has come, at most `max_bytes`."""
        return self._inner.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of `buffer`."""
        self._inner.write(buffer, self._deadline.left(timeout))

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """The same connection inside TLS, checked against the name and not the address."""
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return DeadlineStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """What the underlying connection knows of itself."""
        return self._inner.get_extra_info(info)


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
