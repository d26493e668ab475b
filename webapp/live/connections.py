"""The live connections of this process: how many there may be, and closing them all when the process is to end."""

from __future__ import annotations

import _thread
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from webapp.errors import Problem
from webapp.live.traffic import CONNECTIONS

MOST = 1000


class Connections:
    """Counts open connections by tenant and knows how to close each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closers: dict[object, Callable[[], None]] = {}
        self._tenants: Counter[str] = Counter()
        self._closing = False
        self.limit(MOST)

    def __len__(self) -> int:
        return len(self._closers)

    def check(self, tenant: str) -> None:
        """Raises a 503 problem when this process holds as many as it should, or is about to end."""
        if not self.has_room(tenant):
            raise Problem(503, "Too many live connections here; try again in a moment.", headers={"Retry-After": "5"})

    def has_room(self, tenant: str) -> bool:
        """Whether one more connection of the tenant may begin."""
        return not self._closing and len(self) < self.most and self._tenants[tenant] < self.most_per_tenant

    def limit(self, most: int) -> None:
        """Hold at most that many, and of one tenant three fifths of them."""
        self.most, self.most_per_tenant = most, most * 3 // 5

    @contextmanager
    def hold(self, tenant: str, close: Callable[[], None]) -> Iterator[None]:
        """Count a connection while it is open; `close` must be callable from any thread and not wait for long."""
        key = object()
        with self._lock:
            self._closers[key] = close
            self._tenants[tenant] += 1
        CONNECTIONS.inc()
        try:
            if self._closing:
                close()
            yield
        finally:
            CONNECTIONS.dec()
            with self._lock:
                del self._closers[key]
                self._tenants[tenant] -= 1
                self._tenants += Counter()

    def close_all(self) -> None:
        """End every connection and take no more; clients come back to another process and resume."""
        self._closing = True
        self.drop_all()

    def drop_all(self) -> None:
        """End every connection there is now."""
        with self._lock:
            closers = list(self._closers.values())
        for close in closers:
            close()


connections = Connections()


def close_on_sigterm() -> None:
    """Before what SIGTERM does already, close the live connections, or the server would wait for them in vain.

    Call it in the main thread of each web process, once the server has set its own handlers.
    """
    previous = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        _thread.start_new_thread(connections.close_all, ())
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, handle)
