"""Putting jobs that stand in the ledger into Redis, and telling in which life of Redis they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.exceptions import NoScriptError

from jobs.engine import broker, keys, new_jobs
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.keys import PREFIX
from jobs.engine.ledger.fences import Fence
from jobs.engine.new_jobs import NewJob
from jobs.engine.scripts import script

BATCH = 250
HELD, LATE = 2, 3


@dataclass
class Pushed:
    """What came of a push, as places in it.

    `held` are those whose lock of uniqueness another job has, `late` those that came too late or in another life of
    Redis, `failed` what Redis said of those that it could not take: none of these were taken. `epoch` and `time` are
    the life of Redis and its clock afterwards.
    """

    held: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    failed: dict[int, redis.ResponseError] = field(default_factory=dict)
    epoch: bytes | None = None
    time: tuple[int, int] = (0, 0)

    @property
    def refused(self) -> set[int]:
        """Those that were not taken."""
        return self.held | self.late | set(self.failed)


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


def push(client: redis.Redis, new: Sequence[NewJob], fence: Fence) -> Pushed:
    """Put jobs on their queues in one round trip; nothing happens to those that are there.

    What Redis fails at keeps out only the job that it is about. Raises BrokerUnavailable; then some may be there.
    """
    pushed = Pushed()
    for at, failure in _send(client, new, list(range(0, len(new), BATCH)), BATCH, fence, pushed):
        alone = list(range(at, min(at + BATCH, len(new))))
        pushed.failed |= dict(_send(client, new, alone, 1, fence, pushed) if len(alone) > 1 else [(at, failure)])
    return pushed


def _send(
    client: redis.Redis, new: Sequence[NewJob], starts: Sequence[int], size: int, fence: Fence, pushed: Pushed
) -> list[tuple[int, redis.ResponseError]]:
    """Push the batches of that size that begin at these places; what was said of those that failed."""
    enqueue = script("enqueue")
    calls = [new_jobs.arguments(new[at : at + size]) for at in starts]
    replies: list[Any] = []
    with translate_errors():
        for _ in range(2):
            with client.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.evalsha(enqueue.sha, 0, PREFIX, *call, fence.epoch, f"{fence.until:.6f}")
                pipe.get(keys.LEDGER_EPOCH)
                pipe.time()
                *replies, pushed.epoch, pushed.time = pipe.execute(raise_on_error=False)
            if not any(isinstance(reply, NoScriptError) for reply in replies):
                break
            client.script_load(enqueue.source)
        for reply in (*replies, pushed.epoch, pushed.time):
            if isinstance(reply, Exception) and not _is_of_one_job(reply):
                raise reply
    failed = []
    for at, reply in zip(starts, replies, strict=True):
        if isinstance(reply, redis.ResponseError):
            failed.append((at, reply))
        else:
            _note(pushed, at, min(size, len(new) - at), reply)
    return failed


def _is_of_one_job(reply: Exception) -> bool:
    """Whether a script failed at what it read, rather than Redis at taking anything."""
    return isinstance(reply, redis.ResponseError) and broker.unavailable(reply) is None


def _note(pushed: Pushed, at: int, size: int, answer: Sequence[int]) -> None:
    for place, code in zip(answer[::3], answer[1::3], strict=True):
        if code == HELD:
            pushed.held.add(at + place - 1)
        elif code == LATE:
            pushed.late |= set(range(at, at + size))
