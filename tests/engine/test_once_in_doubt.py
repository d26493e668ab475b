"""What a step's error says of what it did, and whose steps are whose when ids are used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.scripts import script
from jobs.engine.testing import Kit
from tests.engine.samples.stepwise import Bill, billed, bills
from tests.engine.workflows.conftest import turn

DAY = 24 * 3600


@pytest.fixture
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**environ, **getattr(request, "param", {})}


@pytest.fixture(autouse=True)
def _nobody_was_billed() -> None:
    billed.clear()


@pytest.fixture
def kit() -> Iterator[Kit]:
    with Kit() as kit:
        yield kit


def test_an_error_leaves_a_step_in_doubt_where_the_job_says_what_to_do_then(kit: Kit) -> None:
    bills.enqueue(Bill(customer="acme", error="ConnectionError"))
    (job,) = kit.drain(forward=True)
    assert (job.status, billed) == ("failed", ["acme"]), "nobody knows whether it arrived: a person looks"
    assert job.error.type == "Permanent"


@pytest.mark.parametrize("error", ["ConnectionRefusedError", "CircuitOpen"])
def test_an_error_that_says_that_nothing_happened_leaves_none(kit: Kit, error: str) -> None:
    bills.enqueue(Bill(customer="acme", error=error))
    (job,) = kit.drain(forward=True)
    assert (job.status, billed) == ("completed", ["acme", "acme"])


def test_a_run_that_tries_once_more_itself_is_in_doubt_too(kit: Kit) -> None:
    bills.enqueue(Bill(customer="acme", error="ConnectionError", tries=2))
    (job,) = kit.drain(forward=True)
    assert (job.status, billed) == ("failed", ["acme"])


def run_all(fleet: Fleet) -> None:
    while turn(fleet):
        pass


def test_so_is_one_of_a_worker(fleet: Fleet) -> None:
    job = bills.enqueue(Bill(customer="acme", error="ConnectionError", tries=2))
    run_all(fleet)
    assert (fleet.jobs.get(job.id).status, billed) == ("failed", ["acme"])


def fail(fleet: Fleet, job_id: str) -> None:
    """A job that bills and then fails for good."""
    bills.enqueue(Bill(customer="monday", then="fail"), job_id=job_id)
    run_all(fleet)
    assert (fleet.jobs.get(job_id).status, billed) == ("failed", ["monday"])


def is_bounded_away(fleet: Fleet, job_id: str) -> None:
    script("bound_dead_letters")(fleet.redis, keys.PREFIX, 1000, 0, 500, "1")
    assert not fleet.redis.exists(keys.steps(job_id), keys.job(job_id))


def expires(fleet: Fleet, job_id: str) -> None:
    """Nothing but its hash, as if somebody had deleted it."""
    fleet.redis.delete(keys.job(job_id))
    assert fleet.redis.exists(keys.steps(job_id))


@pytest.mark.parametrize("leaves", [is_bounded_away, expires])
def test_another_job_of_the_same_id_does_its_own_work(fleet: Fleet, leaves: Callable[[Fleet, str], None]) -> None:
    fail(fleet, "bill-1")
    leaves(fleet, "bill-1")
    bills.enqueue(Bill(customer="tuesday"), job_id="bill-1")
    run_all(fleet)
    assert (fleet.jobs.get("bill-1").result, billed) == ("billed tuesday", ["monday", "tuesday"])
    assert not fleet.redis.exists(keys.steps("bill-1"))


def test_so_does_one_of_the_same_idempotency_key_and_its_step_has_another_id(fleet: Fleet) -> None:
    ids = []
    for _ in range(2):
        job = bills.enqueue(Bill(customer="acme", then="tell"), idempotency_key="one")
        run_all(fleet)
        ids.append(fleet.jobs.get(job.id).result)
        fleet.redis.delete(keys.job(job.id))
    assert (len(set(ids)), billed) == (2, ["acme", "acme"])
    assert all(each.startswith(f"{job.id}.") and each.endswith(":bill") for each in ids)


def test_steps_of_a_failed_job_are_kept_as_long_as_it_is_and_anew_when_it_runs_again(fleet: Fleet) -> None:
    fail(fleet, "bill-1")
    its, job = keys.steps("bill-1"), keys.job("bill-1")
    assert abs(fleet.redis.ttl(its) - fleet.redis.ttl(job)) <= 1 and fleet.redis.ttl(job) > DAY
    for key in (its, job):
        fleet.redis.expire(key, DAY)
    fleet.jobs.retry("bill-1")
    assert fleet.redis.ttl(job) == -1 and fleet.redis.ttl(its) > 80 * DAY
    fleet.jobs.cancel("bill-1")
    assert abs(fleet.redis.ttl(its) - fleet.redis.ttl(job)) <= 1
    fleet.jobs.retry("bill-1")
    run_all(fleet)
    assert billed == ["monday"]


@pytest.mark.parametrize("environ", [{"DEAD_LETTER_MAX_AGE__STEPWISE_BILLS": str(400 * DAY)}], indirect=True)
def test_a_letter_that_is_kept_for_a_year_keeps_its_steps_as_long(fleet: Fleet) -> None:
    fail(fleet, "bill-1")
    assert fleet.redis.ttl(keys.steps("bill-1")) > 390 * DAY


@pytest.mark.parametrize("environ", [{"DEAD_LETTER_MAX_COUNT__STEPWISE_BILLS": "0"}], indirect=True)
def test_steps_go_with_a_failed_job_that_is_one_too_many(fleet: Fleet) -> None:
    bills.enqueue(Bill(customer="acme", then="fail"))
    run_all(fleet)
    assert not [key for key in fleet.redis.scan_iter() if b":steps:" in key]
