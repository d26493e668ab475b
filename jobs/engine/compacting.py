"""Taking ids out of a queue's list whose jobs are gone."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.keys import PREFIX
from jobs.engine.scripts import script


@translate_errors()
def take_out_gone(client: redis.Redis, queue: str, ids: Sequence[bytes], *, start: int, most: int) -> list[bytes]:
    """Take those of `ids` that have no job out of the list's `most` places from `start` on; what was taken out.

    It goes through the list once, however many ids there are. Raises BrokerUnavailable.
    """
    taken: list[bytes] = script("compact")(client, PREFIX, queue, start, most, *ids)
    return taken
