"""Workflows of one fleet: enqueue, look, wait, cancel, replay."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from jobs.engine import events, keys, log_context, registry
from jobs.engine import views as job_views
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable, Conflict, InvalidWorkflow, NotFound, UnknownJob, Untrusted
from jobs.engine.scripts import script
from jobs.engine.workflows import check, listing, sign, views
from jobs.engine.workflows.build import Workflow
from jobs.engine.workflows.call import Call, check_same, nodes_of, replay
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.listing import WorkflowPage
from jobs.engine.workflows.reading import read
from jobs.engine.workflows.views import WorkflowView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.transactions import AnyTransaction
    from jobs.engine.workflows.ledger import WorkflowLedger
    from jobs.engine.workflows.sign import NewNode

LOOK_AGAIN = timedelta(seconds=5)


class Workflows:
    """The workflows of one fleet. Where a tenant is given, another tenant's workflow is as good as none."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @cached_property
    def _ledger(self) -> WorkflowLedger:
        """The rows of durable workflows; SQLAlchemy is loaded by the first use."""
        from jobs.engine.workflows.ledger import WorkflowLedger

        return WorkflowLedger(self._fleet)

    def enqueue(self, flow: Workflow, session: AnyTransaction | None = None) -> WorkflowView:
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
        is_durable = self._fleet.has_broker and any(part.job_type.durable for part in parts)
        call = Call({**head, "durable": "1"} if is_durable else head, nodes_of(nodes))
        if is_durable:
            self._ledger.accept(flow_id, call, digests, session)
            return self._accepted(flow_id, session is None) or self._ledger.told(flow_id, call)
        if session is not None:
            raise InvalidWorkflow("only a workflow with a job of a durable type can be enqueued in a session")
        with translate_errors():
            known = call.send(self._fleet.redis, flow_id, _now())
        if known:
            check_same(known, tenant, digests)
        return self.get(flow_id)

    def _accepted(self, workflow_id: str, is_committed: bool) -> WorkflowView | None:
        """A durable workflow as far as it is to be seen; never because Redis is away an error."""
        try:
            return self._seen(workflow_id) if is_committed else self._ledger.view(workflow_id)
        except BrokerUnavailable:
            return None

    def get(self, workflow_id: str, tenant: str | None = None) -> WorkflowView:
        """One workflow with its nodes and edges. Raises NotFound, BrokerUnavailable."""
        view = self._seen(workflow_id)
        if view is None or (tenant is not None and view.tenant != tenant):
            raise NotFound(f"there is no workflow {workflow_id}")
        return view

    def find(
        self,
        state: listing.State = "running",
        *,
        limit: int = 50,
        cursor: str | None = None,
        tenant: str | None = None,
        text: str = "",
    ) -> WorkflowPage:
        """Workflows that run, or the newest 10,000 that have ended, as Redis has them; see `listing.page`."""
        return listing.page(self._fleet.redis, state, limit=limit, cursor=cursor, tenant=tenant, text=text)

    def counts(self) -> dict[listing.State, int]:
        """How many run, and how many have ended and are listed; of all tenants. Raises BrokerUnavailable."""
        return listing.counts(self._fleet.redis)

    def _seen(self, workflow_id: str) -> WorkflowView | None:
        """The workflow as Redis has it, or else the ledger. Raises BrokerUnavailable where neither can tell."""
        try:
            with translate_errors():
                view = read(self._fleet.redis, workflow_id)
        except BrokerUnavailable:
            if registry.any_durable() and (noted := self._ledger.view(workflow_id)) is not None:
                return noted
            raise
        if view is None and registry.any_durable():
            view = self._ledger.view(workflow_id)
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

        May be repeated, from any process. Nothing is compensated. Raises NotFound, BrokerUnavailable (also while the
        ledger can't be told of a durable one); Conflict when it has ended otherwise.
        """
        view = self.get(workflow_id, tenant)
        windows = " ".join(self._fleet.windows.values())
        with translate_errors():
            reply: Any = script("workflow_cancel")(self._fleet.redis, keys.PREFIX, workflow_id, _now(), windows)
        word, round_, is_durable = reply[0].decode(), reply[1], reply[2]
        if word == "missing" and not view.ended:
            return self._cancel_in_ledger(view)
        word = view.status if word == "missing" else word
        if word not in ("cancelled", "asked"):
            raise Conflict(f"the workflow is {word} and can't be cancelled")
        if is_durable:
            self._ledger.cancelled(workflow_id, round_)
        return self.get(workflow_id, tenant)

    def _cancel_in_ledger(self, view: WorkflowView) -> WorkflowView:
        """A durable one that is on its way to Redis: it gets there cancelled."""
        if not self._ledger.cancelled(view.id, view.round):
            raise BrokerUnavailable("the workflow is gone, or on its way to Redis: look again in a moment")
        self._ledger.push(view.id)
        return self.get(view.id)

    def replayable(self, workflow_id: str, node: str, tenant: str | None = None) -> list[str]:
        """The nodes that `replay` would run again, that one first. Raises NotFound, Conflict, BrokerUnavailable."""
        return _replayable(self.get(workflow_id, tenant), node)

    def replay(self, workflow_id: str, node: str, tenant: str | None = None) -> WorkflowView:
        """Run a node of an ended workflow again, and everything after it, as new jobs; the others keep their results.

        Raises NotFound (also for the node), BrokerUnavailable; Conflict while it runs, when a node before it did not
        complete that it needs, when one was compensated, or what was signed is not known any more.
        """
        view = self.get(workflow_id, tenant)
        told = nodes_of(self._signed_again(workflow_id, _replayable(view, node)))
        with translate_errors():
            is_durable = self._fleet.redis.hexists(keys.workflow(workflow_id), "durable")
        again = self._ledger.replay if is_durable else partial(replay, self._fleet.redis)
        word = again(workflow_id, view.round, told)
        if word not in ("again", "later"):
            raise Conflict("the workflow was replayed meanwhile, or is gone")
        return (self._ledger.view(workflow_id) if word == "later" else None) or self.get(workflow_id, tenant)

    def _signed_again(self, workflow_id: str, again: Sequence[str]) -> list[NewNode]:
        """These nodes and their compensations as new jobs. Raises Conflict, BrokerUnavailable."""
        key = keys.workflow(workflow_id)
        with translate_errors(), self._fleet.redis.pipeline(transaction=False) as pipe:
            for part in (":plan", ":state", ":data"):
                pipe.hgetall(f"{key}{part}")
            raw_plans, raw_state, data = pipe.execute()
        if not raw_plans:
            raise Conflict("Redis has forgotten the workflow: one can be replayed as long as it is kept after its end")
        plans, state = views.plans_of(raw_plans), views.text_of(raw_state)
        names = [*again, *(f"{UNDO}{name}" for name in again if f"{UNDO}{name}" in plans)]
        try:
            return [
                sign.sign_again(name, state[f"j:{name}"], data[name.encode()], plans[name], workflow_id, self._fleet)
                for name in names
            ]
        except (UnknownJob, Untrusted, KeyError, ValueError) as error:
            raise Conflict(f"it can't be replayed: {error}") from None


def _topics(flow: Workflow, flow_id: str, tenant: str) -> str:
    try:
        return ",".join(events.stream_suffix(tenant, topic) for topic in (f"workflow:{flow_id}", *flow.topics))
    except ValueError as error:
        raise InvalidWorkflow(str(error)) from None


def _replayable(view: WorkflowView, first: str) -> list[str]:
    """The node and all that comes after it. Raises NotFound, Conflict."""
    if not view.ended:
        raise Conflict(f"the workflow is {view.status}: it can be replayed once it has ended")
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
