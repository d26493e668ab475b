"""Workflows of one fleet: enqueue, look, wait, cancel, replay."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jobs.engine import events, keys, log_context
from jobs.engine import views as job_views
from jobs.engine.broker import translate_errors
from jobs.engine.errors import Conflict, IdempotencyConflict, InvalidWorkflow, NotFound, UnknownJob, Untrusted
from jobs.engine.scripts import script
from jobs.engine.workflows import check, sign, views
from jobs.engine.workflows.build import Workflow
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.reading import read
from jobs.engine.workflows.views import WorkflowView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

LOOK_AGAIN = timedelta(seconds=5)


class Workflows:
    """The workflows of one fleet. Where a tenant is given, another tenant's workflow is as good as none."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def enqueue(self, flow: Workflow) -> WorkflowView:
        """Write a workflow whole, once for each id; see `Workflow.enqueue` for what is raised."""
        flow_id = flow.id or uuid4().hex
        tenant = flow.tenant or str(log_context.bound().get("tenant") or "")
        parts = check.parts_of(flow)
        nodes = sign.sign(parts, flow_id, tenant, self._fleet)
        digests = self._fleet.keys.digests(sign.digest_text(parts))
        head = {
            "name": flow.name,
            "tenant": tenant,
            "topic": _topics(flow, flow_id, tenant),
            "kept": str(int(flow.keep.total_seconds())),
            "total": str(len(flow.nodes)),
            "digest": digests[0],
        }
        with translate_errors():
            known: Any = script("workflow_enqueue")(
                self._fleet.redis, keys.PREFIX, flow_id, _now(), json.dumps(head), *sign.wire(nodes)
            )
        if known and (known[0] or b"").decode("utf-8", "replace") != tenant:
            raise IdempotencyConflict("this workflow id is taken")
        if known and (known[1] or b"").decode("utf-8", "replace") not in digests:
            raise IdempotencyConflict("this workflow id was used before for another workflow")
        return self.get(flow_id)

    def get(self, workflow_id: str, tenant: str | None = None) -> WorkflowView:
        """One workflow with its nodes and edges. Raises NotFound, BrokerUnavailable."""
        with translate_errors():
            view = read(self._fleet.redis, workflow_id)
        if view is None or (tenant is not None and view.tenant != tenant):
            raise NotFound(f"there is no workflow {workflow_id}")
        return view

    def wait(self, workflow_id: str, tenant: str | None, timeout: timedelta) -> WorkflowView:
        """The workflow once it has ended, or as it is when the time is up; woken by its events."""
        view = self.get(workflow_id, tenant)
        give_up = time.monotonic() + timeout.total_seconds()
        if view.ended:
            return view
        with self._fleet.events.subscribe([f"workflow:{workflow_id}"], tenant=view.tenant) as subscription:
            view = self.get(workflow_id, tenant)
            while not view.ended and (left := give_up - time.monotonic()) > 0:
                event = subscription.get(min(left, LOOK_AGAIN.total_seconds()))
                if event is None or event.name.startswith("workflow:"):
                    view = self.get(workflow_id, tenant)
        return view

    def cancel(self, workflow_id: str, tenant: str | None = None) -> WorkflowView:
        """Cancel all that has not ended: nothing new begins from then on, and what runs is asked to stop, then killed.

        May be repeated, from any process. Nothing is compensated. Raises NotFound, BrokerUnavailable; Conflict when it
        has ended otherwise.
        """
        self.get(workflow_id, tenant)
        windows = " ".join(self._fleet.windows.values())
        with translate_errors():
            word = script("workflow_cancel")(self._fleet.redis, keys.PREFIX, workflow_id, _now(), windows).decode()
        if word not in ("cancelled", "asked"):
            raise Conflict(f"the workflow is {word} and can't be cancelled")
        return self.get(workflow_id, tenant)

    def replay(self, workflow_id: str, node: str, tenant: str | None = None) -> WorkflowView:
        """Run a node of an ended workflow again, and everything after it, as new jobs; the others keep their results.

        Raises NotFound (also for the node), BrokerUnavailable; Conflict while it runs, when a node before it did not
        complete that it needs, when one was compensated, or what was signed is not known any more.
        """
        view = self.get(workflow_id, tenant)
        if not view.ended:
            raise Conflict(f"the workflow is {view.status}: it can be replayed once it has ended")
        again = _replayable(view, node)
        key = keys.workflow(workflow_id)
        with translate_errors(), self._fleet.redis.pipeline(transaction=False) as pipe:
            for part in (":plan", ":state", ":data"):
                pipe.hgetall(f"{key}{part}")
            raw_plans, raw_state, data = pipe.execute()
        plans, state = views.plans_of(raw_plans), views.text_of(raw_state)
        names = [*again, *(f"{UNDO}{name}" for name in again if f"{UNDO}{name}" in plans)]
        try:
            nodes = [
                sign.sign_again(name, state[f"j:{name}"], data[name.encode()], plans[name], workflow_id, self._fleet)
                for name in names
            ]
        except (UnknownJob, Untrusted, KeyError, ValueError) as error:
            raise Conflict(f"it can't be replayed: {error}") from None
        with translate_errors():
            word = script("workflow_replay")(
                self._fleet.redis, keys.PREFIX, workflow_id, _now(), view.round, *sign.wire(nodes)
            ).decode()
        if word != "again":
            raise Conflict("the workflow was replayed meanwhile, or is gone")
        return self.get(workflow_id, tenant)


def _topics(flow: Workflow, flow_id: str, tenant: str) -> str:
    try:
        return ",".join(events.stream_suffix(tenant, topic) for topic in (f"workflow:{flow_id}", *flow.topics))
    except ValueError as error:
        raise InvalidWorkflow(str(error)) from None


def _replayable(view: WorkflowView, first: str) -> list[str]:
    """The node and all that comes after it. Raises NotFound, Conflict."""
    nodes = {node.name: node for node in view.nodes}
    if first not in nodes:
        raise NotFound(f"the workflow has no node {first}")
    children: dict[str, list[str]] = {}
    for edge in view.edges:
        children.setdefault(edge.parent, []).append(edge.child)
    again = [first]
    seen = {first}
    for name in again:
        fresh = [child for child in children.get(name, ()) if child not in seen]
        seen.update(fresh)
        again += fresh
    for edge in view.edges:
        parent = nodes[edge.parent]
        if edge.child == first and edge.policy != "continue" and parent.status != "completed":
            raise Conflict(f"{parent.name} did not complete: replay from there")
    _expect_kept(nodes, seen)
    return again


def _expect_kept(nodes: Mapping[str, views.NodeView], again: set[str]) -> None:
    undone = [
        node.name
        for node in nodes.values()
        if node.name not in again and node.compensation is not None and node.compensation.status != "unused"
    ]
    if undone:
        raise Conflict(f"{', '.join(undone[:5])} was compensated: replay from there or before")


def _now() -> str:
    return job_views.rfc3339(datetime.now(UTC))
