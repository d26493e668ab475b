"""Connections that go only to the public addresses a host name had when it was first looked up, within one deadline."""

from __future__ import annotations

from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore2

from jobs.engine import Retryable
from jobs.engine.public_addresses import Deadline, public_addresses_of


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
            self._known[host] = public_addresses_of(host, self._deadline, allow_private=self._allow_private)
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
