"""What it costs Redis to put jobs aside, at enqueue and when a lease meets them, and how long others wait then."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks import _report
from benchmarks._broker import Broker, broker
from jobs.engine import Context, Fleet, JobType, Limit, Payload, connect, job, keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.settings import Settings

CHUNK = 5000
ROOM = 10 * SLOT


class Owned(Payload):
    """Whose job it is."""

    tenant_id: str = "acme"


@job("bench.free")
def free(payload: Owned, context: Context) -> None:
    """Nothing to pass."""


@job("bench.pair", limit=Limit(2))
def pair(payload: Owned, context: Context) -> None:
    """Two at once."""


@job("bench.fair", limit=Limit(fair="tenant_id"))
def fair(payload: Owned, context: Context) -> None:
    """In turns."""


@job("bench.metered", lane="exports")
def metered(payload: Owned, context: Context) -> None:
    """Of a lane with a rate window."""


@job("bench.crowded", lane="maintenance")
def crowded(payload: Owned, context: Context) -> None:
    """Of a lane that is full."""


def main() -> int:
    """Measure and print; keep the result unless it was a quick look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--redis-server", help="the server's binary")
    parser.add_argument("--quick", action="store_true", help="keep no result")
    options = parser.parse_args()
    with broker(options.redis_server) as running:
        fleet = connect(Settings.from_env(_environ(running)))
        rows = table(running, fleet, options.jobs)
        publish = _report.show if options.quick else _keep(running)
        publish(
            "Putting jobs aside, microseconds of Redis' processor time a job",
            rows,
            jobs=options.jobs,
            HGET_in_a_script_us=one_command(running),
        )
        fleet.close()
    return 0


def table(running: Broker, fleet: Fleet, jobs: int) -> list[dict[str, Any]]:
    """A row for each way to put jobs aside; `other lane ms` is the longest of 200 leases of one job each then."""
    base = _enqueued(running, fleet, free, jobs)
    rows = [_row("at enqueue: a limit", _enqueued(running, fleet, pair, jobs) - base, running, fleet)]
    rows.append(_row("at enqueue: a turn", _enqueued(running, fleet, fair, jobs) - base, running, fleet))
    rows.append(_row("at enqueue: a rate window", _enqueued(running, fleet, metered, jobs) - base, running, fleet))
    _enqueued(running, fleet, crowded, jobs)
    rows.append(_row("by a lease: a full lane", _filed_by_leases(running, fleet, jobs), running, fleet))
    for kind, gates in (("a limit", "limit:bench.pair=0"), ("a turn", "turn:bench.fair:tenant_id:acme=0")):
        _enqueued(running, fleet, free, jobs)
        _give(fleet, gates)
        rows.append(_row(f"by a lease: {kind}", _filed_by_leases(running, fleet, jobs), running, fleet))
    return rows


def one_command(running: Broker, count: int = 100_000) -> float:
    """Redis' processor time for one HGET of a script, in microseconds: how fast the machine was just then."""
    text = f"for n = 1, {count} do redis.call('HGET', 'key:' .. n, 'field') end"
    before = running.cpu()
    running.client.eval(text, 0)
    return (running.cpu() - before) / count * 1e6


def _enqueued(running: Broker, fleet: Fleet, job_type: JobType[Any], jobs: int) -> float:
    """Redis' processor time a job, in microseconds, to enqueue so many on an empty server."""
    running.empty()
    values = [{} for _ in range(CHUNK)]
    job_type.enqueue_many(values[:250])
    before = running.cpu()
    for _ in range(jobs // CHUNK):
        job_type.enqueue_many(values)
    return (running.cpu() - before) / jobs * 1e6


def _give(fleet: Fleet, gates: str) -> None:
    """Have every waiting job carry these gates, as if RQ's tools had put it back into its list."""
    with fleet.redis.pipeline(transaction=False) as pipe:
        for job_id in fleet.redis.lrange(keys.queue("default"), 0, -1):
            pipe.hset(keys.job(job_id.decode()), "gates", gates)
        pipe.execute()


def _filed_by_leases(running: Broker, fleet: Fleet, jobs: int) -> float:
    leases, before = Leases(running.client, "bench", ["default"], fleet), running.cpu()
    while leases.lease(_ask()).more:
        pass
    return (running.cpu() - before) / jobs * 1e6


def _row(what: str, cost: float, running: Broker, fleet: Fleet) -> dict[str, Any]:
    """With the time that it takes to lease a job of another lane while all those are filed."""
    leases = Leases(running.client, "bench", ["default"], fleet)
    times = [_leased(leases, free) for _ in range(200)]
    return {"put aside": what, "Redis µs/job": cost, "other lane ms": max(times), "median ms": median(times)}


def _leased(leases: Leases, job_type: JobType[Any]) -> float:
    """Milliseconds from before the job is enqueued until it is leased."""
    started = time.perf_counter()
    job_type.enqueue({})
    while not (runs := leases.lease(_ask()).runs):
        pass
    taken = time.perf_counter() - started
    leases.settle([run.settlement(Outcome("finished"), time.time(), time.time()) for run in runs])
    return taken * 1000


def _ask() -> Ask:
    return Ask(uuid4().hex[:20], ROOM, {"default": ROOM, "maintenance": 0, "exports": ROOM})


def _environ(running: Broker) -> Mapping[str, str]:
    return {"ENVIRONMENT": "test", "REDIS_URL": running.url, "EXPORTS_RATE_LIMIT_PER_DAY": "1"}


def _keep(running: Broker) -> Callable[..., None]:
    return lambda title, rows, **facts: _report.publish("filing", title, rows, running.client, **facts)


if __name__ == "__main__":
    raise SystemExit(main())
