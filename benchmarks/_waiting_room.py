"""A server that lets each caller wait for a second and counts how many wait at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

PATIENCE = 1.0
"""Seconds after which a caller is answered."""
ENDLESS = 86400.0


class WaitingRoom:
    """Where jobs that sleep on a socket wait; its port and the largest number that waited at once."""

    def __init__(self, patience: float) -> None:
        self.port, self.most, self._now, self._patience = 0, 0, 0, patience
        self._over: Callable[[], object] = bool
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def open(self) -> None:
        """Begin to serve on a free port."""
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Answer who still waits, and serve no more."""
        self._over()
        self._thread.join()

    async def _serve(self) -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        self._over = lambda: loop.call_soon_threadsafe(over.set)
        receive = partial(self._receive, over)
        server = await asyncio.start_server(receive, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await over.wait()
        server.close()
        while self._now:
            await asyncio.sleep(0.01)

    async def _receive(self, over: asyncio.Event, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._patience)
            writer.write(b"!")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            self._now -= 1
            writer.close()


@contextmanager
def waiting_room(patience: float = PATIENCE) -> Iterator[WaitingRoom]:
    """An open one that answers after so many seconds, closed in the end."""
    room = WaitingRoom(patience)
    room.open()
    try:
        yield room
    finally:
        room.close()
