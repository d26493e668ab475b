"""Redis' table of all keys, which it doubles when there are as many keys as places, and then moves key by key.

Each command and each beat moves some. With a million keys all that costs a second of processor time, once for the next
million: whichever jobs are counted then pay for all that came before them.
"""

from __future__ import annotations

import redis

CHUNK = 10_000
MOVE = "for n = 1, ARGV[1] do redis.call('EXISTS', KEYS[1]) end"
"""Each look moves one place."""
NOBODY = "doubling:nobody"


def be_past_the_next(client: redis.Redis, added: int) -> None:
    """Where `added` more keys would have the table doubled, have that over before, by keys that mean nothing.

    A table that is smaller than what is added doubles several times meanwhile, and that is a share of each key's cost.
    """
    there = client.dbsize()
    places = 1 << there.bit_length()
    if there < added or there + added <= places:
        return
    for start in range(0, places - there + 1, CHUNK):
        client.mset({f"doubling:{number}": "" for number in range(start, min(start + CHUNK, places - there + 1))})
    for _ in range(0, places, CHUNK):
        client.eval(MOVE, 1, NOBODY, CHUNK)
