"""Jobs that show which process and thread runs them, wait on sockets, grow, and fall silent."""

from __future__ import annotations

import gc
import os
import socket
import threading
from datetime import timedelta

from jobs.engine import Context, Retry, job
from tests.engine.samples.jobs import Told, tell

_hoard: list[bytearray] = []


class Dial(Told):
    """A port on this machine to connect to."""

    port: int


class Load(Told):
    """How many megabytes to keep for good."""

    megabytes: int = 1


@job("processes.who")
def who(payload: Told, context: Context) -> dict[str, int]:
    """Tells its process."""
    tell(payload, str(os.getpid()))
    return {"pid": os.getpid(), "thread": threading.get_ident()}


@job("processes.hoard")
def hoard(payload: Load, context: Context) -> dict[str, int]:
    """Grows for good."""
    _hoard.append(bytearray(os.urandom(1024) * (payload.megabytes * 1024)))
    return who(payload, context)


@job("processes.scatter")
def scatter(payload: Load, context: Context) -> dict[str, int]:
    """Takes that much in small pieces, keeps one in a hundred for good, and leaves cycles."""
    pieces = [bytearray(1000) for _ in range(payload.megabytes * 1000)]
    _hoard.extend(pieces[::100])
    for piece in pieces:
        cycle: list[object] = [piece]
        cycle.append(cycle)
    return who(payload, context)


@job("processes.collections")
def collections(payload: Dial, context: Context) -> int:
    """Waits on a socket for a word, and then tells how often garbage of all ages was collected in its process."""
    with socket.create_connection(("127.0.0.1", payload.port)) as connection:
        connection.recv(100)
    return gc.get_stats()[2]["collections"]


@job("processes.listen", timeout=timedelta(minutes=2))
def listen(payload: Dial, context: Context) -> str:
    """Waits on a socket for a word."""
    with socket.create_connection(("127.0.0.1", payload.port)) as connection:
        connection.sendall(f"{os.getpid()}\n".encode())
        return connection.recv(100).decode()


@job("processes.hang", timeout=timedelta(seconds=1), retry=Retry(max_retries=0))
def hang(payload: Dial, context: Context) -> str:
    """The same, and the word takes too long: Python can't interrupt it in a thread."""
    tell(payload, str(os.getpid()))
    with socket.create_connection(("127.0.0.1", payload.port)) as connection:
        return connection.recv(100).decode()


@job("processes.spin", timeout=timedelta(seconds=1), retry=Retry(max_retries=0))
def spin(payload: Told, context: Context) -> None:
    """Never ends, but runs Python code all the time."""
    tell(payload, str(os.getpid()))
    while True:
        pass


@job("processes.exhaust", retry=Retry(max_retries=0))
def exhaust(payload: Told, context: Context) -> None:
    """Runs out of memory."""
    tell(payload, str(os.getpid()))
    raise MemoryError
