"""Jobs for workflows: they tell that they ran, with what, and end as they are told."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from jobs.engine import Context, Limit, Payload, Permanent, Retention, Retry, job
from tests.engine.samples.jobs import tell


class Step(Payload):
    """How to end, and what it is given."""

    folder: str = ""
    name: str = "job"
    ends: Literal["well", "badly", "when told"] = "well"
    takes: Any = None


class Typed(Payload):
    """What is given has to be numbers."""

    numbers: list[int]
    label: str = ""


class Owned(Payload):
    """Whose it is, and for what there may be one at a time."""

    tenant_id: str = ""
    flow_id: str = "f"


@job("flows.step", retry=Retry(max_retries=0))
def step(payload: Step, context: Context) -> dict[str, Any]:
    """Ends as it is told; gives its name and what it was given."""
    return _end(payload, context)


@job("flows.brief", retry=Retry(max_retries=0), retention=Retention(finished=timedelta(0), finished_count=0))
def brief(payload: Step, context: Context) -> dict[str, Any]:
    """The same, and nothing of it is kept."""
    return _end(payload, context)


@job("flows.undo", retry=Retry(max_retries=0))
def undo(payload: Step, context: Context) -> None:
    """Takes back what a step did."""
    _end(payload, context)


@job("flows.typed", retry=Retry(max_retries=0))
def typed(payload: Typed, context: Context) -> int:
    """The sum."""
    return sum(payload.numbers)


@job("flows.told", retry=Retry(max_retries=0))
def told_of_parents(payload: Step, context: Context) -> dict[str, Any]:
    """Which nodes before it did not complete."""
    assert context.workflow is not None
    return {
        "node": context.workflow.node,
        "unfinished": {name: error.message for name, error in context.workflow.unfinished.items()},
    }


@job("flows.large")
def large(payload: Step, context: Context) -> dict[str, str]:
    """A result of as many characters as its name says."""
    return {"text": "x" * int(payload.name)}


@job("flows.single", unique=lambda p: p.name, retry=Retry(max_retries=0))
def single(payload: Step, context: Context) -> None:
    """One at a time for each name."""
    _end(payload, context)


@job("flows.limited", limit=Limit(1, per="flow_id"))
def limited(payload: Owned, context: Context) -> str:
    """One at a time for each flow."""
    return payload.flow_id


def _end(payload: Step, context: Context) -> dict[str, Any]:
    if payload.folder:
        tell(payload, f"ran {context.job_id}")  # type: ignore[arg-type]
        with Path(payload.folder, "all.told").open("a") as file:
            file.write(f"{payload.name}\n")
    while payload.ends == "when told" and not Path(payload.folder, f"{payload.name}.go").exists():
        context.check()
        time.sleep(0.01)
    if payload.ends == "badly":
        raise Permanent(f"{payload.name} broke")
    return {"name": payload.name, "takes": payload.takes}
