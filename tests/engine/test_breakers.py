"""Circuit breakers: a provider that fails stops its lane, uncharged, until a probe shows that it answers again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.engine import CircuitOpen, Fleet, NotFound, ProviderFailed, keys
from jobs.engine.providers import Providers
from jobs.engine.worker.parking import MOST_TIMES, Parking
from tests.conftest import wait_until
from tests.engine.conftest import told, until_ended, until_told
from tests.engine.leases import leases_of
from tests.engine.samples import jobs as samples
from tests.engine.samples import providers
from tests.engine.test_gates import ask, ids

Spawn = Callable[..., subprocess.Popen[bytes]]
DOWN, SHORT = ("audit", "llm"), timedelta(milliseconds=1)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "BREAKER_FAILURES": "3", "BREAKER_OPEN_FOR": "1"}


def states(fleet: Fleet) -> dict[str, str]:
    return {breaker.name: breaker.state for breaker in fleet.breakers.all()}


def until_state(fleet: Fleet, state: str | None) -> None:
    wait_until(lambda: states(fleet).get("audit/llm") == state)


def test_repeated_failures_stop_the_lane_and_a_probe_lets_it_go_on(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    (folder / "down").touch()
    spawn_worker()
    providers.call.enqueue_many([{"folder": str(folder), "name": "first"}] * 2)
    until_state(fleet, "open")
    assert len(told(folder, "first")) >= 3
    later = providers.call.enqueue_many([{"folder": str(folder), "name": "later"}] * 20)
    other = samples.double.enqueue({})
    assert until_ended(fleet, other).status == "completed", "other lanes go on"
    until_told(folder, name="later")
    until_state(fleet, "open")
    (folder / "down").unlink()
    assert {until_ended(fleet, each).status for each in later} == {"completed"}
    assert states(fleet) == {}
    events = [event.data for event in fleet.events.read("breakers:fleet", tenant=None)]
    assert [(each["lane"], each["provider"]) for each in events] == [DOWN] * len(events)
    assert [each["state"] for each in events][:2] == ["open", "open"]
    assert events[-1]["state"] == "closed"


def test_a_run_under_way_that_meets_an_open_breaker_waits_uncharged(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = providers.call_later.enqueue({"folder": str(folder)})
    until_told(folder)
    fleet.breakers.open(*DOWN, timedelta(hours=1))
    (folder / "job.go").touch()
    wait_until(lambda: fleet.jobs.get(job.id).status == "queued")
    assert wait_until(lambda: fleet.jobs.why(job.id)).reason == "breaker_open"
    fleet.breakers.close(*DOWN)
    ended = until_ended(fleet, job)
    assert (ended.status, ended.attempts, len(told(folder))) == ("completed", 1, 2)


def test_a_run_that_began_before_waits_for_the_provider(fleet: Fleet) -> None:
    calls = Providers(fleet.breakers, "audit")
    for _ in range(3):
        with pytest.raises(ProviderFailed), calls.calling("llm"):
            raise ProviderFailed
    with pytest.raises(CircuitOpen) as refused, calls.calling("llm"):
        raise AssertionError("the provider is not called")
    assert timedelta(0) < (refused.value.after or timedelta(0)) <= timedelta(seconds=1)
    with Providers(fleet.breakers, "traces").calling("llm"):
        pass
    wait_until(lambda: fleet.breakers.look(*DOWN).state == "half_open")
    with calls.calling("llm"):
        pass
    assert fleet.breakers.look(*DOWN).state == "closed"


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError, ProviderFailed])
def test_what_shows_that_a_provider_is_down_counts(fleet: Fleet, error: type[Exception]) -> None:
    for _ in range(3):
        with pytest.raises(error), Providers(fleet.breakers, "audit").calling("llm"):
            raise error
    assert states(fleet) == {"audit/llm": "open"}


def test_an_error_of_any_other_kind_shows_that_it_answers(fleet: Fleet) -> None:
    calls = Providers(fleet.breakers, "audit")
    for error in (ProviderFailed, ProviderFailed, ValueError, ProviderFailed, ProviderFailed):
        with pytest.raises(error), calls.calling("llm"):
            raise error
    assert states(fleet) == {}


def test_a_time_that_the_provider_asks_for_is_honoured_at_once(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    (folder / "busy").touch()
    spawn_worker()
    job = providers.call.enqueue({"folder": str(folder)})
    until_state(fleet, "open")
    (breaker,) = fleet.breakers.all()
    assert timedelta(minutes=9) < breaker.until - datetime.now(UTC) < timedelta(minutes=11)
    assert (breaker.times, breaker.reason) == (1, "ProviderFailed")
    waits = wait_until(lambda: fleet.jobs.why(job.id) or None)
    assert waits.reason in ("breaker_open", "retry")
    after = providers.call.enqueue({"folder": str(folder)})
    waits = wait_until(lambda: fleet.jobs.why(after.id) or None)
    assert (waits.reason, waits.what, waits.until) == ("breaker_open", "audit/llm", breaker.until)
    assert "audit/llm is open, until" in waits.text
    (folder / "busy").unlink()
    fleet.breakers.close(*DOWN)
    assert until_ended(fleet, after).status == "completed"


def test_one_slot_of_the_whole_fleet_probes(fleet: Fleet) -> None:
    jobs = samples.audited.enqueue_many([{"folder": "/"}] * 5)
    fleet.breakers.open(*DOWN, SHORT)
    one, other = leases_of(fleet, "w1", "low"), leases_of(fleet, "w2", "low")
    wait_until(lambda: fleet.breakers.look(*DOWN).state == "half_open")
    assert ids(ask(one).runs) == [jobs[0].id]
    assert (ask(other).runs, states(fleet)) == ([], {"audit/llm": "half_open"})
    fleet.breakers.worked(*DOWN)
    assert ids(ask(other).runs) == [job.id for job in jobs[1:]]


def test_a_probe_that_fails_opens_it_for_longer(fleet: Fleet) -> None:
    fleet.breakers.open(*DOWN, SHORT)
    for times in (2, 3):
        fleet.redis.zadd(keys.BREAKERS, {"audit/llm": 1})
        verdict = fleet.breakers.failed(*DOWN, "again")
        assert (verdict.state, fleet.breakers.all()[0].times) == ("open", times)
        assert verdict.wait == timedelta(seconds=2 ** (times - 1))


def test_a_worker_is_told_when_to_try_again(fleet: Fleet) -> None:
    fleet.breakers.open(*DOWN, timedelta(seconds=50))
    opens_in = ask(leases_of(fleet)).opens_in
    assert opens_in is not None
    assert timedelta(seconds=40) < opens_in <= timedelta(seconds=50)


def test_names_are_checked(fleet: Fleet) -> None:
    for lane, provider in (("nowhere", "llm"), ("audit", "LLM"), ("audit", "a/b"), ("audit", "")):
        with pytest.raises(NotFound):
            fleet.breakers.failed(lane, provider)


def test_a_process_can_not_give_its_job_back_for_ever() -> None:
    parking = Parking()
    assert [parking.allows("job") for _ in range(MOST_TIMES + 1)] == [True] * MOST_TIMES + [False]
    assert parking.allows("other")
