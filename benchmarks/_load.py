"""Requests over some connections at once, as fast as the answers come, with little work in this process."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Load:
    """What came back: how often each status, and how long each request took (seconds)."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Requests answered each second."""
        return len(self.latencies) / self.seconds


def drive(port: int, request: bytes, *, connections: int, seconds: float) -> Load:
    """Send `request` on each connection again as soon as it was answered. Raises ConnectionError when one is closed."""
    load = Load()
    begun = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        callers = [_Caller(port, request, selector) for _ in range(connections)]
        while (now := time.perf_counter()) < begun + seconds:
            for key, _ in selector.select(begun + seconds - now):
                key.data.read(load)
        load.seconds = time.perf_counter() - begun
        for caller in callers:
            caller.close()
    return load


class _Caller:
    def __init__(self, port: int, request: bytes, selector: selectors.BaseSelector) -> None:
        self._request = request
        self._received = b""
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(self._sock, selectors.EVENT_READ, self)
        self._send()

    def read(self, load: Load) -> None:
        received = self._sock.recv(65536)
        if not received:
            raise ConnectionError(f"the server closed the connection after {self._received!r}")
        self._received += received
        head, end, body = self._received.partition(END_OF_HEAD)
        if end and len(body) >= _length(head):
            load.latencies.append(time.perf_counter() - self._sent)
            load.statuses[int(head.split(b" ", 2)[1])] += 1
            self._send()

    def close(self) -> None:
        self._sock.close()

    def _send(self) -> None:
        self._received, self._sent = b"", time.perf_counter()
        self._sock.sendall(self._request)


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
