"""Middlewares surround every enqueue and every run, in their order, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.engine import Fleet, InvalidPayload, JobType, Permanent, connect, log_context
from jobs.engine.execute import Run, execute
from jobs.engine.middleware import BUILT_IN, Chain, Middleware
from jobs.engine.outcome import Outcome
from jobs.settings import InvalidSettings, Settings
from tests.engine import middlewares
from tests.engine.conftest import until_ended
from tests.engine.samples.jobs import Number, double
from tests.engine.samples.surrounded import Folder, Nothing, clock, endless, fails, quiet

HERE = "tests.engine.middlewares"


@pytest.fixture
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment, with the middlewares that the test is marked with."""
    mark = request.node.get_closest_marker("middleware")
    return {**environ, "JOB_MIDDLEWARE": ",".join(f"{HERE}:{name}" for name in mark.args)} if mark else environ


@pytest.fixture(autouse=True)
def _told() -> Iterator[None]:
    middlewares.told.clear()
    yield


def told(folder: Path) -> list[str]:
    return (folder / "middleware.told").read_text().splitlines()


@pytest.mark.middleware("Outer", "Inner")
def test_the_first_middleware_is_the_outermost(fleet: Fleet, folder: Path, spawn_worker: Callable[..., Any]) -> None:
    spawn_worker()
    job = quiet.enqueue(Folder(folder=str(folder)))
    assert middlewares.told == [
        "Outer before surrounded.quiet",
        "Inner before surrounded.quiet",
        "Inner after 1",
        "Outer after 1",
    ]
    assert until_ended(fleet, job).status == "completed"
    assert told(folder) == ["Outer before by Outer", "Inner before by Inner", "Inner after", "Outer after"]


@pytest.mark.middleware("Outer")
def test_runs_of_a_stock_rq_worker_pass_them_too(fleet: Fleet, folder: Path, stock_worker: Callable[[], None]) -> None:
    job = quiet.enqueue(Folder(folder=str(folder)))
    stock_worker()
    assert until_ended(fleet, job).status == "completed"
    assert told(folder) == ["Outer before by Outer", "Outer after"]


@pytest.mark.middleware("Outer")
def test_what_is_prepared_for_later_passes_them_once(fleet: Fleet) -> None:
    prepared = fleet.client.prepare(double, [Number(value=1), Number(value=2)])
    fleet.client.send(prepared)
    assert middlewares.told == ["Outer before samples.double", "Outer after 2"]


@pytest.mark.middleware("Outer", "Refusing")
def test_an_error_refuses_the_call_and_is_seen_further_out(fleet: Fleet) -> None:
    with pytest.raises(Permanent, match="not today"):
        double.enqueue(Number())
    assert middlewares.told == ["Outer before samples.double", "Outer saw Permanent"]
    assert fleet.redis.llen("rq:queue:default") == 0


@pytest.mark.middleware("Outer")
def test_a_payload_that_does_not_fit_comes_to_no_middleware(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload):
        double.enqueue({"value": "many"})
    assert middlewares.told == []


@pytest.mark.middleware("Replacing")
def test_a_middleware_decides_what_becomes_of_a_run(fleet: Fleet) -> None:
    assert run(fleet, double, Number(value=4)).value == '{"wrapped":{"value":8}}'
    assert run(fleet, fails, Nothing()).value == '"swallowed"'


@pytest.mark.middleware("Breaking")
def test_a_middlewares_own_error_is_retried_like_a_jobs(fleet: Fleet) -> None:
    first = run(fleet, fails, Nothing())
    assert (first.kind, first.error_type) == ("retry", "ConnectionError")


@pytest.mark.middleware("Carrying")
def test_what_is_carried_is_bounded(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload, match="over 4096 bytes"):
        double.enqueue(Number())


@pytest.mark.middleware("Outer")
def test_what_is_carried_is_signed(fleet: Fleet) -> None:
    (new,) = fleet.client.prepare(double, [Number()])
    function, instance, (name, payload, headers), options = json.loads(new.data)
    assert execute(run_of(new, "samples.double"), fleet, Silent()).kind != "quarantined"
    for forged in ({"Outer": "by somebody else"}, {}, {"Outer": 7}, [], {"Outer": "by Outer", "more": "x"}):
        data = json.dumps([function, instance, [name, payload, {**headers, "carried": forged}], options])
        ended = execute(replace(run_of(new, "samples.double"), data=data.encode()), fleet, Silent())
        assert ended.kind == "quarantined"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{HERE}:Missing", "can't be loaded"),
        ("no.such.module:Thing", "can't be loaded"),
        (f"{HERE}.Outer", "can't be loaded"),
        (f"{HERE}:NoMiddleware", "is no subclass of"),
        (f"{HERE}:Wordy", "Wordy can't be made from the settings"),
        (f"{HERE}:Picky", "PICKY: set it"),
    ],
)
def test_a_middleware_that_cannot_be_used_stops_the_start_and_is_named(
    environ: dict[str, str], path: str, message: str
) -> None:
    with pytest.raises(InvalidSettings, match=message):
        connect(Settings.from_env({**environ, "JOB_MIDDLEWARE": path})).discover()


def test_what_is_not_overridden_is_left_out_of_the_chain(settings: Settings) -> None:
    chain = Chain(settings)
    chain.links[:] = [Middleware(settings)] * 3

    def send(call: Any) -> Any:
        return call

    assert chain.around_enqueue(send) is send
    assert not chain.must_close


def test_every_middleware_is_closed_though_one_of_them_fails(settings: Settings) -> None:
    class Failing(Middleware):
        def close(self) -> None:
            raise OSError("no")

    chain = Chain(settings)
    chain.links[:] = [middlewares.Outer(settings), Failing(settings), middlewares.Inner(settings)]
    chain.close()
    assert middlewares.told == ["Inner closed", "Outer closed"]


def test_the_built_in_ones_are_each_a_file_and_a_concern() -> None:
    modules = [each.__module__.rpartition(".")[2] for each in BUILT_IN]
    assert modules == ["caller", "failures", "timing"]


def test_a_job_knows_how_long_it_may_still_take(fleet: Fleet, spawn_worker: Callable[..., Any]) -> None:
    spawn_worker()
    told, free = clock.enqueue(Nothing()), endless.enqueue(Nothing())
    result = until_ended(fleet, told).result
    assert 0 <= result["elapsed"] < 60
    assert 0 < result["left"] <= 300
    assert until_ended(fleet, free).result is True


def test_a_job_takes_its_callers_tenant_and_correlation_id(fleet: Fleet) -> None:
    with log_context.bound_job_context("outer", "samples.outer", tenant="acme", correlation_id="c-1"):
        job = double.enqueue(Number())
    assert (job.tenant, job.correlation_id) == ("acme", "c-1")


class Silent:
    def report(self, kind: str, value: dict[str, Any]) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False


def run_of(new: Any, name: str) -> Run:
    return Run(new.id, "e" * 24, new.data, name, new.head.view.tenant)


def run(fleet: Fleet, job_type: JobType[Any], payload: Any) -> Outcome:
    (new,) = fleet.client.prepare(job_type, [payload])
    return execute(run_of(new, job_type.name), fleet, Silent())
