"""What a benchmark's job does, the same in every system: note number and time outside Redis, then perhaps wait.

Standard library only, since each system imports it in an environment of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time

NAP = 0.1
"""Seconds that a resting job sleeps."""
_marks: list[int] = []


def mark(number: int) -> int:
    """Append `number` and the monotonic clock in nanoseconds as one line, and give the number back."""
    if not _marks:
        _marks.append(os.open(os.environ["BENCH_MARKS"], os.O_WRONLY | os.O_APPEND))
    os.write(_marks[0], b"%d %d\n" % (number, time.monotonic_ns()))
    return number


def touch(number: int) -> int:
    """Nothing else."""
    return mark(number)


def rest(number: int) -> int:
    """Sleep 100 ms."""
    mark(number)
    time.sleep(NAP)
    return number


def wait(number: int) -> int:
    """Sleep on a socket until the benchmark answers, a second later."""
    mark(number)
    with socket.create_connection(("127.0.0.1", int(os.environ["BENCH_SOCKET"]))) as sock:
        if sock.recv(1) != b"!":
            raise RuntimeError("the benchmark did not answer")
    return number


async def touch_async(number: int) -> int:
    """`touch` on an event loop."""
    return mark(number)


async def rest_async(number: int) -> int:
    """`rest` on an event loop."""
    mark(number)
    await asyncio.sleep(NAP)
    return number


async def wait_async(number: int) -> int:
    """`wait` on an event loop."""
    mark(number)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["BENCH_SOCKET"]))
    answer = await reader.read(1)
    writer.close()
    if answer != b"!":
        raise RuntimeError("the benchmark did not answer")
    return number


PLAIN = {"touch": touch, "rest": rest, "wait": wait}
ASYNC = {"touch": touch_async, "rest": rest_async, "wait": wait_async}
