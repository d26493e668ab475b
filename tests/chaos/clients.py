"""Clients under load: they enqueue every kind of job and log what they were told of each."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from uuid import UUID

import redis
from rq import Queue as RQQueue
from rq import Retry as RQRetry
from rq.serializers import JSONSerializer

from jobs.engine import BrokerUnavailable, Fleet, Queue, keys
from jobs.engine.job_types import JobType
from tests.chaos.oracle import Call
from tests.chaos.samples import foreign, jobs

KINDS = ("short", "short", "short", "long", "retrying", "hopeless", "batch", "surprise", "crowded", "foreign")
PLAIN_FAILS = (0, 0, 1, 9)
"""How many runs of a plain client's job fail: most end well, at once or after a retry, and some never do."""
FOREIGN = "tests.chaos.samples.foreign.*"
UNASKED = Call("", "fail", 0.0)
LARGEST_CALL = 250
MOST_WAITING = 200
"""Jobs that may wait before a client pauses: enough for every slot, few enough to see re-runs soon."""


class Client(threading.Thread):
    """Enqueues at random until stopped; what ended unknown is often asked again under the same id."""

    def __init__(self, fleet: Fleet, journal: Path, rng: random.Random, rate: float, longest: float = 2.0) -> None:
        super().__init__(name="client", daemon=True)
        self._fleet, self._journal, self._rng, self._rate, self._longest = fleet, str(journal), rng, rate, longest
        self.calls: dict[str, Call] = {}
        self._stopping = threading.Event()
        self.patient = False
        """Whether it asks again until it has an answer."""
        self.died: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.expovariate(self._rate)):
                if not self._crowded():
                    self._enqueue(self._rng.choice(KINDS))
        except BaseException as error:
            self.died = error

    def stop(self) -> None:
        """End the load. Raises what ended it before."""
        self._stopping.set()
        self.join(60)
        if self.died is not None:
            raise self.died

    def burst(self, count: int, seconds: float = 0.0, fails: int = 0) -> list[str]:
        """Enqueue so many jobs of one length, a few hundred a call; their ids."""
        ids = [self._id() for _ in range(count)]
        for start in range(0, count, LARGEST_CALL):
            self._ours(jobs.work, seconds, ids[start : start + LARGEST_CALL], fails)
        return ids

    def _crowded(self) -> bool:
        try:
            return sum(self._fleet.redis.llen(keys.queue(name)) for name in Queue) > MOST_WAITING
        except redis.RedisError:
            return False

    def _enqueue(self, kind: str) -> None:
        seconds = self._rng.uniform(0.005, 0.05)
        if kind == "foreign":
            self._plain(self._id(), seconds, self._rng.choice(PLAIN_FAILS))
        elif kind == "batch":
            self._ours(jobs.tiny, 0.0, [self._id() for _ in range(self._rng.randint(5, 80))], 0)
        elif kind == "surprise":
            self._ours(jobs.tiny, self._rng.uniform(0.0, self._longest), [self._id()], 0)
        elif kind == "crowded":
            self._ours(jobs.crowded, seconds, [self._id()], 0)
        elif kind == "long":
            self._ours(jobs.work, self._rng.uniform(self._longest / 2, self._longest), [self._id()], 0)
        else:
            self._ours(jobs.work, seconds, [self._id()], {"retrying": 2, "hopeless": 9}.get(kind, 0))

    def _id(self) -> str:
        return UUID(int=self._rng.getrandbits(128)).hex

    def _ours(self, job_type: JobType[jobs.Work], seconds: float, ids: list[str], fails: int) -> None:
        queue = self._rng.choice(list(Queue))
        values = {"journal": self._journal, "seconds": seconds, "fails": fails}
        for _ in range(100 if self.patient else 1 + self._rng.randint(0, 3)):
            try:
                new = [
                    self._fleet.client.prepare(job_type, [values], options={"job_id": each, "priority": queue})[0]
                    for each in ids
                ]
                self._fleet.client.send(new)
            except BrokerUnavailable as error:
                self._note(ids, self._word(ids, error), fails)
                self._stopping.wait(0.2)
                continue
            self._note(ids, "ok", fails)
            return

    def _plain(self, job_id: str, seconds: float, fails: int) -> None:
        queue = RQQueue(self._rng.choice(list(Queue)), connection=self._fleet.redis, serializer=JSONSerializer)
        retry = RQRetry(max=foreign.RETRIES) if fails else None
        values = (self._journal, job_id, seconds, fails)
        self._note([job_id], "unknown", fails, foreign.RETRIES if retry else None)
        try:
            queue.enqueue(foreign.work, args=values, job_id=job_id, result_ttl=86_400, failure_ttl=86_400, retry=retry)
        except redis.RedisError:
            return
        self._note([job_id], "ok", fails, foreign.RETRIES if retry else None)

    def _word(self, ids: list[str], error: BrokerUnavailable) -> str:
        """What a failed call says: a refusal is certain, unless an earlier call for these ids had no answer."""
        refused = isinstance(error.__cause__, redis.ResponseError)
        return "fail" if refused and self.calls.get(ids[0], UNASKED).word == "fail" else "unknown"

    def _note(self, ids: list[str], word: str, fails: int, retries: int | None = None) -> None:
        for each in ids:
            self.calls[each] = Call(each, word, time.monotonic(), fails, retries)
