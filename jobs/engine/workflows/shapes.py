"""The usual shapes of workflows: one job after the other, and many at once with a callback when all are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from jobs.engine.errors import InvalidWorkflow
from jobs.engine.job_types import JobType
from jobs.engine.workflows.build import EdgePolicy, Node, Workflow

Step = tuple[JobType[Any], Any]
"""A job type and its payload, or a function that makes the payload of what comes before: a result or a list of them."""


class Given(TypedDict, total=False):
    """What a workflow is told as a whole."""

    name: str
    tenant: str | None
    id: str | None
    topics: Sequence[str]
    keep: timedelta


def chain(*steps: Step | Sequence[Step], policy: EdgePolicy = "fail", **given: Unpack[Given]) -> Workflow:
    """A workflow of one step after the other; a list of steps stands for jobs that run side by side.

    A step is a job type and its payload, or a function that is given the result of the step before (a list of results,
    where that is a list) and makes the payload. `policy` is that of all edges. Raises InvalidWorkflow.
    """
    flow = Workflow(given.pop("name", "chain"), **given)  # type: ignore[misc]
    before: list[Node] = []
    result: Any = None
    for step in steps:
        side_by_side = _is_list(step)
        nodes = [_add(flow, each, result, before, policy) for each in (step if side_by_side else [step])]
        before, result = nodes, [node.result for node in nodes] if side_by_side else nodes[0].result
    return flow


def group(*steps: Step, then: Step | None = None, policy: EdgePolicy = "fail", **given: Unpack[Given]) -> Workflow:
    """A workflow of jobs side by side and, `then`, one that begins when all are done and may take their results.

    With the policy "continue" it begins when all have ended, however that was. Raises InvalidWorkflow.
    """
    flow = Workflow(given.pop("name", "group"), **given)  # type: ignore[misc]
    nodes = [_add(flow, step, None, [], policy) for step in steps]
    if then is not None:
        _add(flow, then, [node.result for node in nodes], nodes, policy)
    return flow


def _is_list(step: Any) -> bool:
    if isinstance(step, list) and not step:
        raise InvalidWorkflow("a list of steps must not be empty")
    return isinstance(step, list)


def _add(flow: Workflow, step: Any, result: Any, before: Sequence[Node], policy: EdgePolicy) -> Node:
    if not isinstance(step, tuple) or len(step) != 2 or not isinstance(step[0], JobType):
        raise InvalidWorkflow("a step is a job type and its payload: (extract, Extract(url=...))")
    job_type, payload = step
    if isinstance(payload, Callable) and not isinstance(payload, Mapping):  # type: ignore[arg-type]
        payload = payload(result)
    after: Mapping[Any, EdgePolicy] = dict.fromkeys(before, policy)
    return flow.add(job_type, payload, after=after)
