"""How long a person waits: one upload at a time to an idle fleet, from the request to the job's start.

The events are received as a page receives them, over the workspace's live stream, on the clock of the uploader.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from benchmarks import _report
from benchmarks._stack import TENANT, WORKSPACE, Stack, stack
from tests import corpus

WARM_UP = 20


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=300)
    count: int = parser.parse_args().uploads
    with stack() as running:
        address = running.start_web()
        running.start_worker()
        moments = _all(running, address, count + WARM_UP)[WARM_UP:]
        stored = [_in_redis(running, each.job_id) for each in moments]
        rows = [
            _row("request to 202", [each.answered - each.sent for each in moments]),
            _row("202 to job:started", [each.started - each.answered for each in moments]),
            _row("request to job:started", [each.started - each.sent for each in moments]),
            _row("request to job:completed", [each.completed - each.sent for each in moments]),
            _row("queued to started, in Redis", stored),
        ]
        _report.publish("upload", f"{count} single uploads of 2 kB to an idle fleet", rows, running.fleet.redis)


@dataclass(frozen=True)
class Moments:
    """One upload: when each thing happened, in seconds."""

    job_id: str
    sent: float
    answered: float
    started: float
    completed: float


class Listener:
    """Follows the workspace's events and keeps when each first arrived."""

    def __init__(self, client: httpx2.Client) -> None:
        self._seen: dict[tuple[str, str], float] = {}
        self._news = threading.Condition()
        self._client = client
        self.ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def when(self, job_id: str, name: str) -> float:
        """The moment of that event, once it has arrived. Raises RuntimeError after a minute without it."""
        with self._news:
            if not self._news.wait_for(lambda: (job_id, name) in self._seen, 60):
                raise RuntimeError(f"no {name} of {job_id}")
            return self._seen[job_id, name]

    def _listen(self) -> None:
        timeout = httpx2.Timeout(60, read=None)
        address = f"/api/workspace/{WORKSPACE}/events"
        with contextlib.suppress(httpx2.TransportError), self._client.stream("GET", address, timeout=timeout) as answer:
            for line in answer.iter_lines():
                now = time.perf_counter()
                self.ready.set()
                if line.startswith("data:"):
                    self._keep(json.loads(line.removeprefix("data:")), now)

    def _keep(self, event: dict[str, Any], now: float) -> None:
        data = event.get("data", {})
        with self._news:
            self._seen.setdefault((str(data.get("job_id")), str(event.get("event"))), now)
            self._news.notify_all()


def _all(running: Stack, address: str, count: int) -> list[Moments]:
    """One upload after the other, each when the one before it has been processed."""
    with running.client(address) as client, running.client(address) as events:
        client.post("/api/workspaces", json={"slug": WORKSPACE, "name": "Benchmark"}).raise_for_status()
        listener = Listener(events)
        listener.ready.wait(30)
        return [_one(client, listener, number) for number in range(count)]


def _one(client: httpx2.Client, listener: Listener, number: int) -> Moments:
    content = corpus.plain(f"Note {number}", [corpus.word_of(number)] * 200)
    sent = time.perf_counter()
    answer = client.post(f"/api/workspace/{WORKSPACE}/upload", files={"files": (f"note-{number}.txt", content)})
    answered = time.perf_counter()
    job_id = str(answer.raise_for_status().json()["documents"][0]["job_id"])
    completed = listener.when(job_id, "job:completed")
    return Moments(job_id, sent, answered, listener.when(job_id, "job:started"), completed)


def _in_redis(running: Stack, job_id: str) -> float:
    """Seconds between the events, by the clock of Redis, which is right to a millisecond."""
    events = {event.name: event.id for event in running.fleet.events.read(f"job:{job_id}", tenant=TENANT)}
    began, queued = (int(events[name].partition("-")[0]) for name in ("job:started", "job:queued"))
    return (began - queued) / 1000


def _row(what: str, seconds: list[float]) -> dict[str, Any]:
    return {"milliseconds": what, **_report.spread([1000 * each for each in seconds])}


if __name__ == "__main__":
    main()
