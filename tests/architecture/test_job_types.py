"""Every declared job type has a test, a true row in docs/job-types.md, a served queue and a declared lane."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Context, JobType, Payload, Policy, Queue, Retention, Retry, lanes, registry
from jobs.engine.schedules import Every, Periodic
from jobs.settings import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs/job-types.md").read_text(encoding="utf-8")
TESTS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests/domains").rglob("test_*.py")}


def declared() -> list[JobType[Any]]:
    """The job types of `jobs.domains`, and no other test's samples."""
    registry.discover(("jobs.domains",))
    return [each for each in registry.all_types() if each.function.__module__.startswith("jobs.domains.")]


def served() -> list[str]:
    """The queues of Procfile's worker: those it names, or all that the settings know."""
    worker = re.search(r"^worker: python worker\.py(.*)$", (ROOT / "Procfile").read_text(encoding="utf-8"), re.M)
    assert worker is not None
    named = [word for word in shlex.split(worker[1]) if not word.startswith("-")]
    return named or list(Settings().queue_weights)


def problems(job_type: JobType[Any], page: str = PAGE, tests: Mapping[str, str] = TESTS) -> list[str]:
    """What a job type lacks; empty when all is well."""
    found = []
    names = (job_type.name, job_type.function.__module__)
    if not any(name in text for text in tests.values() for name in names):
        found.append(f"no file below tests/domains mentions {job_type.name}")
    if row(job_type) not in page.splitlines():
        found.append(f"docs/job-types.md lacks this row:\n{row(job_type)}")
    if job_type.policy.queue not in served():
        found.append(f"no worker of Procfile serves the queue {job_type.policy.queue}")
    if job_type.policy.lane not in lanes.CONCURRENCY:
        found.append(f"the lane {job_type.policy.lane} is not declared in jobs/engine/lanes.py")
    return found


def row(job_type: JobType[Any]) -> str:
    """The row of docs/job-types.md that tells what is declared."""
    policy = job_type.policy
    cells = [
        f"`{job_type.name}`",
        str(policy.queue),
        policy.lane,
        "yes" if job_type.durable else "no",
        str(policy.retry.max_retries),
        f"{policy.retry.strategy} from {duration(policy.retry.first)}",
        "none" if policy.timeout is None else duration(policy.timeout),
        kept(policy.retention),
        "no" if job_type.periodic is None else schedule(job_type.periodic),
        purpose(job_type),
    ]
    return f"| {' | '.join(cells)} |"


def schedule(periodic: Periodic) -> str:
    """When it runs, with the policies that are not the defaults."""
    times, usual = periodic.times, Periodic(periodic.times)
    when = f"every {duration(times.interval)}" if isinstance(times, Every) else f"`{times.expression}` {times.timezone}"
    overlap = "" if periodic.overlap == usual.overlap else f", overlap {periodic.overlap}"
    return when + overlap + ("" if periodic.catch_up == usual.catch_up else f", catch-up {periodic.catch_up}")


def kept(retention: Retention) -> str:
    """How long finished and failed jobs are kept, with the counts that are not the defaults."""
    usual = Retention()
    finished = "" if retention.finished_count == usual.finished_count else f" ({retention.finished_count})"
    failed = "" if retention.failed_count == usual.failed_count else f" ({retention.failed_count})"
    return f"{duration(retention.finished)}{finished} / {duration(retention.failed)}{failed}"


def duration(time: timedelta) -> str:
    """In the largest unit that is exact; days only from two on."""
    for unit, length, least in (
        ("d", timedelta(days=1), 2),
        ("h", timedelta(hours=1), 1),
        ("min", timedelta(minutes=1), 1),
    ):
        if time >= least * length and time % length == timedelta(0):
            return f"{time // length} {unit}"
    return f"{time.total_seconds():g} s"


def purpose(job_type: JobType[Any]) -> str:
    """The first line of the docstring of the file that declares it."""
    return (inspect.getdoc(inspect.getmodule(job_type.function)) or "").split("\n")[0]


@pytest.mark.parametrize("job_type", declared(), ids=lambda job_type: job_type.name)
def test_a_job_type_has_its_test_its_row_its_queue_and_its_lane(job_type: JobType[Any]) -> None:
    assert not (found := problems(job_type)), "\n".join(found)


def test_the_page_has_rows_for_declared_job_types_only() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", PAGE, re.M)
    assert sorted(rows) == sorted(each.name for each in declared())


def test_a_type_without_all_that_is_named_with_what_it_lacks() -> None:
    lost = fake(Policy(queue="nowhere", lane="no-lane"))  # type: ignore[arg-type]
    assert problems(lost) == [
        "no file below tests/domains mentions fakes.lost",
        f"docs/job-types.md lacks this row:\n{row(lost)}",
        "no worker of Procfile serves the queue nowhere",
        "the lane no-lane is not declared in jobs/engine/lanes.py",
    ]


def test_the_page_tells_the_slots_of_every_lane() -> None:
    rows = [f"| `{lane}` | {slots} | `{lanes.variable(lane)}` |" for lane, slots in lanes.CONCURRENCY.items()]
    assert re.findall(r"^\| `[a-z-]+` \| \d+ \| `[A-Z_]+` \|$", PAGE, re.M) == rows


def test_a_row_with_another_value_is_no_row() -> None:
    tests = {"test_lost.py": "fakes.lost"}
    assert problems(fake(Policy()), row(fake(Policy())), tests) == []
    for other in (
        Policy(queue=Queue.LOW),
        Policy(lane="audit"),
        Policy(retry=Retry(max_retries=4)),
        Policy(retry=Retry(strategy="linear")),
        Policy(timeout=None),
        Policy(retention=Retention(finished=timedelta(days=3))),
        Policy(retention=Retention(finished_count=7)),
    ):
        assert len(problems(fake(other), row(fake(Policy())), tests)) == 1
    assert len(problems(fake(Policy(), every=timedelta(days=1)), row(fake(Policy())), tests)) == 1


class Nothing(Payload):
    """No argument."""


def lose(payload: Nothing, context: Context) -> None:
    """Never run."""


def fake(policy: Policy, every: timedelta | None = None) -> JobType[Any]:
    """A type that is declared nowhere."""
    return JobType("fakes.lost", lose, Nothing, policy, periodic=every and Periodic(Every(every)))
