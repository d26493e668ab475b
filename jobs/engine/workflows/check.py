"""Checking: the edges of a workflow are followed before anything of it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from jobs.engine import payloads, placeholders, registry
from jobs.engine.errors import InvalidPayload, InvalidWorkflow
from jobs.engine.job_types import JobType
from jobs.engine.payloads import Payload
from jobs.engine.placeholders import NOTHING, Input
from jobs.engine.workflows.build import MOST_EDGES, EdgePolicy, Given, Node, NodeOptions, Workflow

UNDO = "undo:"
"""What stands before a node's name in that of its compensation."""


@dataclass(frozen=True)
class Part:
    """A job that a workflow is made of: a node, or the compensation of one."""

    name: str
    job_type: JobType[Any]
    payload: Payload
    inputs: Sequence[Input]
    after: Mapping[str, EdgePolicy]
    following: Sequence[tuple[str, EdgePolicy]] = ()
    options: NodeOptions | None = None


def parts_of(flow: Workflow) -> list[Part]:
    """The nodes, parents first, then compensations. Raises InvalidWorkflow, InvalidPayload: both name the node."""
    if not flow.nodes:
        raise InvalidWorkflow("a workflow needs at least one node")
    nodes, undos = [], []
    for node in flow.nodes.values():
        payload, inputs = _read(node.name, node.job_type, node.payload)
        after = _after(flow, node, inputs)
        nodes.append(Part(node.name, node.job_type, payload, inputs, after, options=node.options))
        if node.undo is not None:
            undos.append(_undo(node, *node.undo, after))
    following = _following(nodes)
    order = _order(nodes, following)
    ordered = sorted(nodes, key=lambda part: order[part.name])
    return [_with(part, following[part.name]) for part in ordered] + undos


def _read(name: str, job_type: JobType[Any], given: Any) -> tuple[Payload, Sequence[Input]]:
    if not isinstance(job_type, JobType):
        raise InvalidWorkflow(f"{name}: {job_type!r} is no job type")
    job_type = registry.get(job_type.name)
    try:
        values, inputs = placeholders.split(job_type.payload_type, given)
        payload: Payload = payloads.validate(job_type.payload_type, values)
    except ValidationError as error:
        raise _about(name, payloads.invalid(error)) from None
    except InvalidPayload as error:
        raise _about(name, error) from None
    return payload, inputs


def _about(name: str, error: InvalidPayload) -> InvalidPayload:
    return InvalidPayload(f"{name}: {error}", error.problems)


def _after(flow: Workflow, node: Node, inputs: Sequence[Input]) -> dict[str, EdgePolicy]:
    """What a node waits for, which is what it takes a result of, too."""
    after = dict(node.after)
    for each in inputs:
        has_other = each.result.default is not NOTHING
        policy = after.setdefault(each.result.node, "continue" if has_other else "fail")
        if policy == "continue" and not has_other:
            raise InvalidWorkflow(
                f"{node.name} runs though {each.result.node} did not complete: say what it gets then, "
                f"{each.result!r}.or_else(...)"
            )
    for name in after:
        if name not in flow.nodes:
            raise InvalidWorkflow(f"{node.name} comes after {name}, and there is no such node")
        if name == node.name:
            raise InvalidWorkflow(f"{node.name} comes after itself")
    return after


def _undo(node: Node, job_type: JobType[Any], given: Given, after: Mapping[str, EdgePolicy]) -> Part:
    """The compensation of a node: it may take results of that node and of those right before it."""
    payload, inputs = _read(f"{UNDO}{node.name}", job_type, given)
    for each in inputs:
        known = each.result.node == node.name or after.get(each.result.node) in ("fail", "compensate")
        if not known and (each.result.node not in after or each.result.default is NOTHING):
            raise InvalidWorkflow(
                f"the compensation of {node.name} can have results of {node.name} and of those right before it, "
                f"not of {each.result.node}"
            )
    return Part(f"{UNDO}{node.name}", job_type, payload, inputs, {})


def _following(nodes: Sequence[Part]) -> dict[str, list[tuple[str, EdgePolicy]]]:
    following: dict[str, list[tuple[str, EdgePolicy]]] = {part.name: [] for part in nodes}
    for part in nodes:
        for parent, policy in part.after.items():
            following[parent].append((part.name, policy))
    if sum(map(len, following.values())) > MOST_EDGES:
        raise InvalidWorkflow(f"a workflow has at most {MOST_EDGES} edges: let one node come between all and all")
    return following


def _order(nodes: Sequence[Part], following: Mapping[str, Sequence[tuple[str, EdgePolicy]]]) -> dict[str, int]:
    """Each node's place in an order in which parents come first (Kahn, 1962)."""
    missing = {part.name: len(part.after) for part in nodes}
    order = [name for name, count in missing.items() if count == 0]
    for name in order:
        for child, _ in following[name]:
            missing[child] -= 1
            if missing[child] == 0:
                order.append(child)
    if len(order) < len(nodes):
        circle = sorted(set(missing) - set(order))
        raise InvalidWorkflow(f"nodes wait for each other in a circle: {', '.join(circle[:10])}")
    return {name: place for place, name in enumerate(order)}


def _with(part: Part, following: Sequence[tuple[str, EdgePolicy]]) -> Part:
    return Part(part.name, part.job_type, part.payload, part.inputs, part.after, following, part.options)
