"""What it takes to look at dead letters, however many there are, while a million jobs wait."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks import _report
from benchmarks._broker import broker
from jobs.engine import Context, Fleet, Payload, connect, job, keys
from jobs.engine.dead_letters import Where
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.policy import Retry
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.settings import Settings

CHUNK, AT_ONCE, ERRORS, TIMES = 1000, 250, 26, 20
MOST = "1000000"
SETTINGS = {"ENVIRONMENT": "test", "DEAD_LETTER_MAX_COUNT": MOST, "DEAD_LETTER_MAX_COUNT__BENCH_FAILING": MOST}


class Owned(Payload):
    """Whose job it is."""

    number: int = 0


@job("bench.failing")
def failing(payload: Owned, context: Context) -> None:
    """Never run: the benchmark says how it ended."""


def main() -> int:
    """Measure and print; keep the result unless it was a quick look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--letters", default="1000,20000,200000", help="how many, with commas")
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--redis-server", help="the server's binary")
    parser.add_argument("--quick", action="store_true", help="keep no result")
    options = parser.parse_args()
    with broker(options.redis_server) as running:
        fleet = connect(Settings.from_env({**SETTINGS, "REDIS_URL": running.url}))
        let_wait(fleet, options.waiting)
        rows, there = [], 0
        for count in map(int, options.letters.split(",")):
            let_die(fleet, there, count)
            there = count
            rows.append(row(fleet, count))
        title, facts = "Looking at dead letters, milliseconds", {"waiting_jobs": options.waiting}
        if options.quick:
            _report.show(title, rows, **facts)
        else:
            _report.publish("letters", title, rows, running.client, **facts)
        fleet.close()
    return 0


def row(fleet: Fleet, count: int) -> dict[str, Any]:
    """Median milliseconds of a page of 50 in several ways, and the bytes of the indexes a letter."""
    desk = fleet.dead_letters
    newest = desk.find(limit=1).items[0]
    return {
        "letters": count,
        "newest": took(lambda: desk.find()),
        "of a type": took(lambda: desk.find(Where(type="bench.failing"))),
        "of an error": took(lambda: desk.find(Where(fingerprint=newest.fingerprint))),
        "groups": took(lambda: desk.groups()),
        "one": took(lambda: desk.get(newest.id)),
        "5,000 looked at": took(lambda: desk.find(Where(tenant="nobody"))),
        "dry run of 10,000": took(lambda: desk.plan(), 1),
        "index bytes": index_bytes(fleet) / count,
    }


def took(ask: Callable[[], object], times: int = TIMES) -> float:
    """Median milliseconds."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        found.append((time.perf_counter() - begun) * 1000)
    return median(found)


def let_wait(fleet: Fleet, count: int) -> None:
    """Ids in a queue's list; what they stand for plays no part."""
    for _ in range(count // 10_000):
        fleet.redis.rpush(keys.queue("low"), *(uuid4().hex for _ in range(10_000)))


def let_die(fleet: Fleet, there: int, count: int) -> None:
    """Enqueue, lease and settle until there are so many letters."""
    leases, outcomes = Leases(fleet.redis, "bench", ["default"], fleet), [failure(number) for number in range(ERRORS)]
    for _ in range((count - there) // CHUNK):
        failing.enqueue_many([{"number": number} for number in range(CHUNK)], tenant="acme")
        for _ in range(CHUNK // AT_ONCE):
            runs = leases.lease(Ask(uuid4().hex[:20], SLOT * AT_ONCE, {"default": SLOT * AT_ONCE})).runs
            now = time.time()
            leases.settle([run.settlement(outcomes[n % ERRORS], now, now) for n, run in enumerate(runs)])


def failure(number: int) -> Outcome:
    """One of several errors that are not the same."""
    try:
        raise OSError(f"disk {chr(ord('a') + number) * 3} is full")
    except OSError as error:
        return of_error(error, Retry(max_retries=0), 1)


def index_bytes(fleet: Fleet) -> int:
    """What the lists that find letters take."""
    names: Sequence[Any] = list(fleet.redis.scan_iter(f"{keys.DEAD_LETTERS}*", count=10_000))
    return sum(int(fleet.redis.memory_usage(name) or 0) for name in names)


if __name__ == "__main__":
    raise SystemExit(main())
