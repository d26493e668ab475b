"""The model of fleets: it keeps to its limits, repeats itself, and reads its costs from measured figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import simulate as benchmark
from benchmarks._model import Costs, Layout, simulate

COSTS = Costs(redis_job=40, redis_trip=60, parent_job=20, child_job=40)
RATES = {"jobs/s": 12_000.0, "others' cores": 0.0}


def test_the_same_seed_gives_the_same_fleet() -> None:
    assert simulate(COSTS, Layout(3), seed=5) == simulate(COSTS, Layout(3), seed=5)
    assert simulate(COSTS, Layout(3), seed=5) != simulate(COSTS, Layout(3), seed=6)


@pytest.mark.parametrize("workers", [8, 32])
def test_one_redis_is_the_limit_of_many_workers(workers: int) -> None:
    outcome = simulate(COSTS, Layout(workers))
    assert outcome.jobs_per_second == pytest.approx(1_000_000 / (40 + 60 / outcome.jobs_a_trip), rel=0.03)
    assert outcome.redis_busy > 0.97


def test_a_parent_is_the_limit_of_a_worker_whose_redis_and_children_cost_nothing() -> None:
    outcome = simulate(replace(COSTS, redis_job=0.1, redis_trip=0, child_job=0.1, network=0), Layout(1))
    assert outcome.jobs_per_second == pytest.approx(1_000_000 / 20, rel=0.05)


def test_cores_are_the_limit_of_one_machine() -> None:
    bound = 2 * 1_000_000 / (40 + 20 + 40)
    assert simulate(COSTS, Layout(4, shared=True)).jobs_per_second == pytest.approx(bound, rel=0.05)
    assert simulate(COSTS, Layout(4, cores=1, shared=True)).jobs_per_second == pytest.approx(bound / 2, rel=0.05)
    assert simulate(COSTS, Layout(4, cores=0.5, shared=True)).jobs_per_second == pytest.approx(bound / 4, rel=0.1)


def test_each_further_redis_adds_its_whole_rate_while_there_are_workers_for_it() -> None:
    one, four = (simulate(COSTS, Layout(32, servers=servers)).jobs_per_second for servers in (1, 4))
    assert four == pytest.approx(4 * one, rel=0.05)


def test_heartbeats_take_their_share_of_a_redis() -> None:
    busy = simulate(replace(COSTS, idle=10_000), Layout(50))
    assert busy.jobs_per_second == pytest.approx(simulate(COSTS, Layout(50)).jobs_per_second / 2, rel=0.1)


def test_costs_are_read_from_measured_figures() -> None:
    throughput = {"Redis µs/job": 50.0, "worker µs/job": 100.0, "parent µs/job": 30.0}
    costs = benchmark.costs_of(throughput, {"Redis µs/job": 190.0}, {"Redis µs/s": 1000.0})
    assert costs == Costs(redis_job=50, redis_trip=60, parent_job=30, child_job=70, idle=1000)


def test_the_model_is_shown_beside_what_was_measured() -> None:
    found = benchmark.check(COSTS, 1, [RATES, RATES])
    assert found["measured jobs/s"] == 12_000
    assert found["error"] == pytest.approx(found["model jobs/s"] / 12_000 - 1, abs=0.001)
    assert benchmark.check(COSTS, 1, [{**RATES, "others' cores": 1.0}])["cores left"] == 1


def test_the_fewest_workers_that_fill_a_redis_are_named() -> None:
    assert benchmark.enough(COSTS) <= 4
    assert benchmark.enough(replace(COSTS, child_job=400)) > benchmark.enough(COSTS)


def test_longer_jobs_let_one_redis_carry_more_workers() -> None:
    workers = [row["workers"] for row in benchmark.long_jobs(replace(COSTS, idle=1000))]
    assert workers == sorted(workers)
    assert workers[-1] == 1000


def test_every_fleet_of_the_table_has_a_worker_for_each_server() -> None:
    rows = benchmark.fleets(COSTS)
    assert all(row["workers"] >= row["Redis servers"] for row in rows)
    assert rows[-1]["note"] == "fills one Redis"
