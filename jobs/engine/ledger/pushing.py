"""Putting jobs that stand in the ledger into Redis, and telling in which life of Redis they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import redis
from redis.exceptions import NoScriptError

from jobs.engine import keys, new_jobs
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.keys import PREFIX
from jobs.engine.new_jobs import NewJob
from jobs.engine.scripts import script

BATCH = 250
HELD = 2


@dataclass
class Pushed:
    """What came of a push: the life of Redis in which all are, or nothing where it was wiped meanwhile.

    `held` are the places of those whose lock of uniqueness another job has: they were not taken.
    """

    epoch: str = ""
    held: set[int] = field(default_factory=set)


def is_there(client: redis.Redis) -> bool:
    """Whether a connection can be had; where not, nothing that is sent now could have been received."""
    pool = client.connection_pool
    try:
        with translate_errors():
            connection = pool.get_connection()
    except BrokerUnavailable:
        return False
    pool.release(connection)
    return True


def push(client: redis.Redis, new: Sequence[NewJob]) -> Pushed:
    """Put jobs on their queues in one round trip; nothing happens to those that are there.

    Raises BrokerUnavailable; then some may be there.
    """
    enqueue = script("enqueue")
    batches = [new[at : at + BATCH] for at in range(0, len(new), BATCH)]
    mine, replies = uuid4().hex, []
    with translate_errors():
        for _ in range(2):
            with client.pipeline(transaction=False) as pipe:
                pipe.set(keys.LEDGER_EPOCH, mine, nx=True, get=True)
                for batch in batches:
                    pipe.evalsha(enqueue.sha, 0, PREFIX, *new_jobs.arguments(batch))
                pipe.get(keys.LEDGER_EPOCH)
                replies = pipe.execute(raise_on_error=False)
            if not any(isinstance(reply, NoScriptError) for reply in replies):
                break
            client.script_load(enqueue.source)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
    return _told(replies[0] or mine.encode(), replies[1:-1], replies[-1])


def _told(before: bytes, answers: Sequence[Sequence[int]], after: bytes | None) -> Pushed:
    pushed = Pushed(before.decode() if before == after else "")
    for batch, answer in enumerate(answers):
        for place, code in zip(answer[::3], answer[1::3], strict=True):
            if code == HELD:
                pushed.held.add(batch * BATCH + place - 1)
    return pushed
