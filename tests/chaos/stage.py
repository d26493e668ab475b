"""A fleet on which chaos is let loose: its Redis, clients and workers, and what is known of all three at the end."""

from __future__ import annotations

import pickle
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.engine import Fleet, keys
from jobs.engine.views import ENDED, WORDS
from tests.chaos import journal, oracle
from tests.chaos.clients import Client
from tests.chaos.herd import Herd
from tests.chaos.oracle import Fault, Final, History
from tests.conftest import RedisServer, wait_until

OUTCOMES = {b"1": "finished", b"2": "failed", b"3": "cancelled", b"4": "retried"}
FIELDS = ("status", "quarantined", "attempts", "max_retries", "retries_left", "settled")
AT_ONCE = 200
MOST_EVENTS = 300
"""Jobs whose events are read at the end: those that ran twice first."""
MOST_STORIES = 5
LEFT_OVER = ("fleet:leases", "fleet:inbox:*", "fleet:overflow:*", "wip:*", "queue:*", "execution:*", "executions:*")
"""Keys that must be gone once everything has ended."""
DRAINED_WITHIN = 90.0


class Stage:
    """Start workers and clients, do harm, `drain`, then `judge`."""

    def __init__(
        self, fleet: Fleet, server: RedisServer, herd: Herd, folder: Path, seed: int, tell: Callable[[str], None]
    ) -> None:
        self.fleet, self.server, self.herd, self.seed, self._tell = fleet, server, herd, seed, tell
        self.rng = random.Random(seed)
        self.journal = folder / "journal"
        self.faults: list[Fault] = []
        self._clients: list[Client] = []
        self._ended: dict[str, Final] = {}

    def client(self, fleet: Fleet | None = None, rate: float = 15.0, longest: float = 2.0) -> Client:
        """A client of this stage that has not begun; `rate` is enqueue calls a second, `longest` seconds a job."""
        made = Client(fleet or self.fleet, self.journal, random.Random(self.rng.random()), rate, longest)
        self._clients.append(made)
        return made

    @contextmanager
    def load(self, clients: int = 2, rate: float = 15.0, longest: float = 2.0) -> Iterator[None]:
        """Clients enqueue while the body runs; afterwards everything is waited for."""
        started = [self.client(None, rate, longest) for _ in range(clients)]
        for each in started:
            each.start()
        try:
            yield
        finally:
            for each in started:
                each.stop()
        self.drain()

    @contextmanager
    def fault(self, kind: str, **about: Any) -> Iterator[None]:
        """What is done in the body is a fault of Redis or of the network."""
        at = time.monotonic()
        yield
        self.faults.append(Fault(kind, at, time.monotonic(), **about))

    def until_busy(self, more: int = 20) -> None:
        """Wait until so many more runs have begun."""
        before = self.began()
        wait_until(lambda: self.began() >= before + more)

    def began(self, template: int | None = None) -> int:
        """How many runs have begun, of one worker's template or of all."""
        return sum(1 for run in journal.read(self.journal) if template in (None, run.template))

    def until_all_resume(self, timeout: float) -> None:
        """Wait until each living worker has begun something since now: a worker that hangs or sulks is found."""
        since = time.monotonic()

        def at_work() -> bool:
            busy = {run.template for run in journal.read(self.journal) if run.began > since}
            return all(worker.template in busy for worker in self.herd.living)

        wait_until(at_work, timeout, every=0.1)

    def look(self) -> list[str]:
        """Read the jobs that had not ended yet; the ids of those that still have not."""
        waiting = [job_id for job_id in self.calls if job_id not in self._ended]
        found = self._finals(waiting)
        self._ended |= {each.id: each for each in found.values() if each.status in ENDED}
        return [each.id for each in found.values() if each.id not in self._ended]

    def drain(self, timeout: float = DRAINED_WITHIN) -> None:
        """Wait until every job that is there has ended and nothing is left over."""

        def drained() -> bool:
            return not self.look()

        wait_until(drained, timeout, every=0.2)
        wait_until(lambda: not self._left_over(), 30, every=0.2)

    def judge(self) -> History:
        """Fail with a sentence for each thing that is wrong, and the stories of the first; tell the figures."""
        seen = [(each.id, each.status, each.settled) for each in self._ended.values()]
        runs = journal.read(self.journal)
        finals = self._finals(list(self.calls))
        for job_id, many in Counter(run.id for run in runs).most_common(MOST_EVENTS):
            if job_id in finals and (many > 1 or len(finals) < 10 * MOST_EVENTS):
                finals[job_id] = self._with_events(finals[job_id])
        history = History(list(self.calls.values()), runs, finals, [*self.faults, *self.herd.faults], seen)
        self._tell(self._figures(history))
        found = oracle.judge(history)
        told = [oracle.story(history, each.partition(":")[0]) for each in found[:MOST_STORIES]]
        if wrong := [*found, *told, *self.herd.deserters()]:
            self.journal.with_name("history.pickle").write_bytes(pickle.dumps(history))
            pytest.fail("\n".join(wrong), pytrace=False)
        return history

    def final(self, job_id: str) -> Final:
        """One job as it is now. Raises KeyError where it is gone."""
        return self._finals([job_id])[job_id]

    @property
    def calls(self) -> dict[str, oracle.Call]:
        """What all clients know."""
        return {job_id: call for client in self._clients for job_id, call in list(client.calls.items())}

    def _finals(self, job_ids: list[str]) -> dict[str, Final]:
        found: dict[str, Final] = {}
        for some in (job_ids[start : start + AT_ONCE] for start in range(0, len(job_ids), AT_ONCE)):
            with self.fleet.redis.pipeline(transaction=False) as pipe:
                for job_id in some:
                    pipe.hmget(keys.job(job_id), *FIELDS)
                    pipe.xrange(keys.results(job_id))
                replies = pipe.execute()
            for n, job_id in enumerate(some):
                if replies[2 * n][0] is not None:
                    found[job_id] = _final(job_id, replies[2 * n], replies[2 * n + 1])
        return found

    def _with_events(self, final: Final) -> Final:
        events = tuple(each.name for each in self.fleet.events.read(f"job:{final.id}", tenant=""))
        return Final(**{**final.__dict__, "events": events or None})

    def _left_over(self) -> list[str]:
        try:
            found = [self.fleet.redis.keys(f"{keys.PREFIX}:{pattern}") for pattern in LEFT_OVER]
        except redis.RedisError:
            return ["Redis is away"]
        return [key.decode() for each in found for key in each]

    def _figures(self, history: History) -> str:
        kinds = Counter(fault.kind for fault in history.faults)
        delays = oracle.delays(history)
        figures = [
            f"seed {self.seed}",
            f"{len(history.calls)} jobs",
            f"{len(history.runs)} runs",
            ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items())) or "no faults",
        ]
        if delays:
            p95 = delays[int(0.95 * (len(delays) - 1))]
            figures.append(f"{len(delays)} re-runs after p95 {p95:.1f} s, max {delays[-1]:.1f} s")
        return "; ".join(figures)


LOST = b"WorkerLost: "
"""How the history begins to tell of a run that died with its worker or its process, which is no outcome."""


def _final(job_id: str, raw: list[bytes | None], results: list[tuple[bytes, dict[bytes, bytes]]]) -> Final:
    status, quarantined, attempts, most, left, settled = (None if each is None else each.decode() for each in raw)
    return Final(
        job_id,
        "quarantined" if quarantined is not None else WORDS.get(status or "", "unknown"),
        int(attempts or 0),
        None if most is None else int(most),
        None if left is None else int(left),
        settled or "",
        tuple(OUTCOMES.get(fields.get(b"type", b""), "?") for _, fields in results if not _is_lost(fields)),
    )


def _is_lost(result: dict[bytes, bytes]) -> bool:
    return result.get(b"text", b"").startswith(LOST)
