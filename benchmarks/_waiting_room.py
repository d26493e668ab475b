"""A server that lets each caller wait for a second and counts how many wait at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds after which a caller is answered."""


class WaitingRoom:
    """Where jobs that sleep on a socket wait; its port and the largest number that waited at once."""

    def __init__(self) -> None:
        self.port, self.most, self._now = 0, 0, 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def open(self) -> None:
        """Begin to serve on a free port."""
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Serve no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._receive, "127.0.0.1", 0, backlog=1024))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _receive(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(PATIENCE)
        self._now -= 1
        with contextlib.suppress(ConnectionError):
            writer.write(b"!")
            await writer.drain()
            writer.close()


@contextmanager
def waiting_room() -> Iterator[WaitingRoom]:
    """An open one, closed in the end."""
    room = WaitingRoom()
    room.open()
    try:
        yield room
    finally:
        room.close()
