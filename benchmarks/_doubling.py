"""Redis' tables of all keys and of those that expire, each doubled when it has as many keys as places.

Then each command and each beat moves some. With a million keys all that costs a second of processor time, once for the
next million: whichever jobs are counted then pay for all that came before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import redis

CHUNK = 10_000
MOVE = "for n = 1, ARGV[1] do redis.call('EXISTS', KEYS[1]) end"
"""Each look at a key that is there moves one place in each of the tables."""
NAME = "doubling:"
AGE = timedelta(days=1)
NUMBERS = count()
"""Of keys that mean nothing, none of which may be there already."""


def be_past_the_next(client: redis.Redis, added: int) -> None:
    """Where `added` more keys would have a table doubled, have that over before, by keys that mean nothing."""
    places, name = 0, ""
    for table, age in (("expires", AGE), ("keys", None)):
        there = int(client.info("keyspace").get("db0", {}).get(table, 0))
        missing = _missing(there, added)
        for size in _chunks(missing):
            with client.pipeline(transaction=False) as pipe:
                for _ in range(size):
                    name = f"{NAME}{next(NUMBERS)}"
                    pipe.set(name, "", ex=age)
                pipe.execute()
            places = max(places, 2 << (there + missing).bit_length())
    for size in _chunks(places):
        client.eval(MOVE, 1, name, size)


def _missing(there: int, added: int) -> int:
    """How many keys a table of so many lacks until it holds as many more without doubling."""
    wanted = there
    while wanted + added > 1 << wanted.bit_length():
        wanted = (1 << wanted.bit_length()) + 1
    return wanted - there


def _chunks(count: int) -> Iterator[int]:
    return (min(CHUNK, count - start) for start in range(0, count, CHUNK))
