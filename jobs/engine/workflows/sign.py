"""Signing: the parts of a workflow become jobs that only their own workflow and node can use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jobs.engine import envelope, payloads, registry
from jobs.engine.errors import InvalidPayload, InvalidWorkflow, MissingEncryptionKey, PayloadTooLarge, Untrusted
from jobs.engine.heads import PLAIN, Head
from jobs.engine.job_types import JobType, Options
from jobs.engine.new_jobs import NewJob
from jobs.engine.placeholders import NOTHING, Input
from jobs.engine.workflows.check import UNDO, Part

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

LARGEST = 8 * 1024 * 1024
LARGEST_INPUTS = 256 * 1024
SHORTEST_KEPT = timedelta(minutes=10)
"""An ended job is kept so long at least, also under RQ's own worker: the workflow takes its result over meanwhile."""


@dataclass(frozen=True)
class NewNode:
    """A node that is ready to be sent: its job, and its plan as the scripts read it."""

    name: str
    job_id: str
    head: Head
    data: bytes
    more: dict[str, Any]
    plan: dict[str, Any]


def sign(parts: Sequence[Part], flow_id: str, tenant: str, fleet: Fleet) -> list[NewNode]:
    """The parts as jobs. Raises InvalidPayload, InvalidWorkflow, PayloadTooLarge, MissingEncryptionKey."""
    taken = {each.result.node for part in parts for each in part.inputs}
    nodes = [_signed(part, part.name in taken, flow_id, tenant, fleet) for part in parts]
    if sum(len(node.data) for node in nodes) > LARGEST:
        raise PayloadTooLarge(f"the workflow's payloads are over {LARGEST} bytes: store the data and pass its key")
    return nodes


def sign_again(name: str, old_id: str, data: bytes, plan: dict[str, Any], flow_id: str, fleet: Fleet) -> NewNode:
    """A node as a new job. Raises Untrusted for one that was not signed by this fleet, UnknownJob."""
    call = envelope.decode(data)
    sealed = fleet.keys.verify(old_id, *call.args[:3])
    place = json.loads(sealed.flow or "{}")
    if (place.get("w"), place.get("n")) != (flow_id, name):
        raise Untrusted(f"what was signed is not {name} of this workflow")
    job_type = registry.get(sealed.name)
    seconds = plan.get("timeout")
    extras = PLAIN._replace(timeout=timedelta(seconds=seconds) if seconds else None)
    head = fleet.client.heads.get(job_type, str(plan["queue"]), sealed.tenant, extras)
    job_id, carried = uuid4().hex, envelope.carried_text(sealed.carried)
    again = head.seal.data(job_id, sealed.payload, sealed.correlation_id, sealed.gates, carried, sealed.flow)
    more = {**plan["more"], **({"gates": sealed.gates} if sealed.gates else {})}
    return NewNode(name, job_id, head, again, more, plan)


def digest_text(parts: Sequence[Part]) -> str:
    """What two workflows have in common that are the same: everything but ids and signatures."""
    told = [
        [
            *(part.name, part.job_type.name, payloads.dump(part.payload, lambda secret: secret)),
            *(list(part.after.items()), _inputs(part.inputs), sorted((part.options or {}).items(), key=str)),
        ]
        for part in parts
    ]
    return json.dumps(told, default=str)


def _signed(part: Part, is_taken: bool, flow_id: str, tenant: str, fleet: Fleet) -> NewNode:
    flow = _flow_text(part, flow_id)
    _check_limits(part, fleet)
    options: Options = {**(part.options or {}), "tenant": tenant}  # type: ignore[typeddict-item]
    try:
        (job,) = fleet.client.prepare(part.job_type, [part.payload], options=options, flow=flow)
    except (InvalidPayload, PayloadTooLarge, MissingEncryptionKey) as error:
        error.args = (f"{part.name}: {error}",)
        raise
    _check_tenant(part, tenant)
    more = _more(job, part.job_type, fleet)
    limit = options.get("timeout")
    plan = {
        "type": part.job_type.name,
        "queue": job.head.view.queue,
        "timeout": limit.total_seconds() if limit else None,
        "after": list(part.after.items()),
        "next": list(part.following),
        "keep": is_taken and not part.name.startswith(UNDO),
        "more": more,
    }
    return NewNode(part.name, job.id, job.head, job.data, more, plan)


def _flow_text(part: Part, flow_id: str) -> str:
    told = [parent for parent, policy in part.after.items() if policy == "continue"]
    try:
        text = json.dumps({"w": flow_id, "n": part.name, "in": _inputs(part.inputs), "told": told}, allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidPayload(f"{part.name}: what stands for a missing result is no JSON") from None
    if len(text) > LARGEST_INPUTS:
        raise PayloadTooLarge(f"{part.name}: its inputs take over {LARGEST_INPUTS} bytes to name")
    return text


def _inputs(inputs: Sequence[Input]) -> list[list[Any]]:
    """Each as [place in the payload, node, part of its result], and what stands for it where there is something."""
    return [
        [list(each.place), each.result.node, list(each.result.path)]
        + ([] if each.result.default is NOTHING else [each.result.default])
        for each in inputs
    ]


def _more(job: NewJob, job_type: JobType[Any], fleet: Fleet) -> dict[str, Any]:
    kept = max(fleet.policy(job_type).retention.finished, SHORTEST_KEPT)
    more: dict[str, Any] = json.loads(job.more) if job.more else {}
    more["result_ttl"] = str(int(kept.total_seconds()))
    return {**more, "correlation_id": job.correlation_id} if job.correlation_id else more


def _check_limits(part: Part, fleet: Fleet) -> None:
    counted = {str(field) for limit in fleet.policy(part.job_type).limits for field in (*limit.per, limit.fair)}
    if unknown := sorted(counted & {str(each.place[0]) for each in part.inputs}):
        raise InvalidPayload(f"{part.name}: {unknown[0]} is not known before the workflow runs: its limit needs it")


def _check_tenant(part: Part, tenant: str) -> None:
    named = part.payload.__dict__.get("tenant_id") or tenant
    if isinstance(named, str) and named != tenant:
        raise InvalidWorkflow(f"{part.name} is of another tenant than its workflow")
