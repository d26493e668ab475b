"""Jobs that are put aside: bounded work a call, however many there are, and nobody behind them waits for that."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.job_types import JobType
from jobs.engine.worker.leasing import SLOT, Ask, Leased, Leases
from tests.engine.leases import leases_of, settle
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples
from tests.engine.test_gates import DONE, TOLD, ids

MANY = [3000, pytest.param(100_000, marks=pytest.mark.slow)]
LANES = {"default": 10 * SLOT, "audit": 0, "traces": 10 * SLOT}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "TRACES_RATE_LIMIT_PER_DAY": "1"}


def ask(leases: Leases, request: str) -> Leased:
    return leases.lease(Ask(request, 10 * SLOT, LANES))


def ask_until_all_is_seen(leases: Leases) -> list[int]:
    """Lease until a call has seen all; the number of commands that each call took."""
    commands = []
    leased = None
    while leased is None or leased.more:
        before = calls(leases)
        leased = ask(leases, f"file-{len(commands)}")
        commands.append(calls(leases) - before)
    return commands


def calls(leases: Leases) -> int:
    """Commands that the server has run, those of scripts included."""
    stats: Any = leases._client.info("commandstats")
    return sum(int(each["calls"]) for name, each in stats.items() if name != "cmdstat_info")


def fill(fleet: Fleet, kind: str, count: int) -> None:
    """Have so many jobs waiting that may not run."""
    types: dict[str, tuple[JobType[Any], dict[str, str]]] = {
        "lane": (samples.audited, TOLD),
        "limit": (gated.pair, TOLD),
        "turn": (gated.fair, {}),
        "window": (gated.traced, {}),
    }
    job_type, values = types[kind]
    job_type.enqueue_many([values] * count)
    if kind == "lane":
        fleet.redis.rename(keys.queue("low"), keys.queue("default"))


@pytest.mark.parametrize("count", MANY)
@pytest.mark.parametrize("kind", ["lane", "limit", "turn", "window"])
def test_another_job_costs_the_same_however_many_are_filed(fleet: Fleet, kind: str, count: int) -> None:
    worker = leases_of(fleet)
    samples.double.enqueue({})
    settle(worker, *((run, DONE) for run in ask(worker, "warm-up").runs))
    fill(fleet, kind, count)
    settle(worker, *((run, DONE) for run in ask(worker, "first").runs if kind != "lane"))
    ask_until_all_is_seen(worker)
    other = samples.double.enqueue({})
    before = calls(worker)
    leased = ask(worker, "other")
    assert other.id in ids(leased.runs)
    assert calls(worker) - before < 60 + 15 * len(leased.runs)


@pytest.mark.parametrize("kind", ["lane", "limit", "turn", "window"])
def test_a_call_files_no_more_than_it_looks_at(fleet: Fleet, kind: str) -> None:
    worker = leases_of(fleet)
    fill(fleet, kind, 2000)
    for job_id in fleet.redis.lrange(keys.waiting("default", waiting_at(kind)), 0, -1) if kind != "lane" else ():
        fleet.redis.rpush(keys.queue("default"), job_id)
    fleet.redis.delete(keys.waiting("default", waiting_at(kind)))
    commands = ask_until_all_is_seen(worker)
    assert max(commands) < 5 * (200 + 10 * SLOT) + 100
    assert fleet.redis.llen(keys.queue("default")) == (1 if kind == "turn" else 0), "whose turn it is"


def waiting_at(kind: str) -> str:
    return {
        "lane": "",
        "limit": "limit:samples.pair",
        "turn": "turn:samples.fair:tenant_id:acme",
        "window": "window:traces:86400000",
    }[kind]


@pytest.mark.parametrize("kind", ["limit", "turn", "window"])
def test_filing_at_enqueue_takes_no_command_more_than_queueing(fleet: Fleet, kind: str) -> None:
    worker = leases_of(fleet)
    fill(fleet, kind, 500)
    before = calls(worker)
    samples.double.enqueue_many([{}] * 200)
    plain, before = calls(worker) - before, calls(worker)
    fill(fleet, kind, 200)
    assert calls(worker) - before < plain + 20


def test_what_is_filed_keeps_its_order(fleet: Fleet) -> None:
    worker = leases_of(fleet)
    jobs = gated.pair.enqueue_many([TOLD] * 300)
    running, begun = ask(worker, "0").runs, []
    while running:
        begun += ids(running)
        settle(worker, *((run, DONE) for run in running))
        running = ask(worker, str(len(begun))).runs
    assert begun == ids(list(jobs))
