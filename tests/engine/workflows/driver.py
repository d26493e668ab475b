"""A workflow run to its end by the test itself, in any order and with whatever gets lost; and what is right."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from jobs.engine import Conflict, Fleet, Workflow, WorkflowView, keys, views
from jobs.engine.outcome import Outcome
from jobs.engine.scripts import script
from jobs.engine.worker.running import Running
from tests.engine.conftest import fetch
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import flows

RUN_ENDS = ("well", "well", "well", "badly", "cancelled", "quarantined", "deleted", "expired", "lost once")
EARLY_ENDS = ("deleted early", "cancelled early")
MOST_TURNS = 400


@dataclass(frozen=True)
class Graph:
    """Nodes by number; `edges` (parent, child) to policy, parents having lower numbers."""

    ends: Mapping[int, str]
    edges: Mapping[tuple[int, int], str]
    undoable: frozenset[int] = frozenset()
    undo_ends: Mapping[int, str] = field(default_factory=dict)

    def parents(self, node: int) -> dict[int, str]:
        return {parent: policy for (parent, child), policy in self.edges.items() if child == node}

    def build(self) -> Workflow:
        flow = Workflow("random", tenant="acme")
        for number in self.ends:
            after = {f"n{parent}": policy for parent, policy in self.parents(number).items()}
            undo = flows.undo if number in self.undoable else None
            flow.add(flows.step, flows.Step(), name=f"n{number}", after=after, compensate=undo)  # type: ignore[arg-type]
        return flow

    def states(self) -> dict[str, set[str]]:
        """What each node may end as, by the policies alone."""
        found: dict[int, set[str]] = {}
        for node in sorted(self.ends):
            stops = any(
                policy != "continue" and found[parent] != {"completed"} for parent, policy in self.parents(node).items()
            )
            found[node] = STATES[self.ends[node]] if not stops else {"skipped"} | EARLY.get(self.ends[node], set())
        return {f"n{node}": states for node, states in found.items()}

    def to_undo(self) -> set[str]:
        """The nodes that are to be compensated."""
        states, found = self.states(), set[int]()
        work = [
            child
            for (_, child), policy in self.edges.items()
            if policy == "compensate" and states[f"n{child}"] != {"completed"}
        ]
        seen = set(work)
        while work:
            for parent in self.parents(work.pop()):
                if parent not in seen:
                    seen.add(parent)
                    work.append(parent)
                if parent in self.undoable and states[f"n{parent}"] == {"completed"}:
                    found.add(parent)
        return {f"n{node}" for node in found}

    def status(self) -> str:
        states = self.states()
        for node in self.ends:
            followed = [policy for (parent, _), policy in self.edges.items() if parent == node]
            if states[f"n{node}"] != {"completed"} and not (followed and set(followed) == {"continue"}):
                return "failed"
        return "completed"


STATES = {
    "well": {"completed"},
    "lost once": {"completed"},
    "badly": {"failed"},
    "cancelled": {"cancelled"},
    "quarantined": {"failed"},
    "deleted": {"failed"},
    "expired": {"failed"},
    "deleted early": {"failed"},
    "cancelled early": {"cancelled"},
}
EARLY = {"deleted early": {"failed"}, "cancelled early": {"cancelled"}}


class Driver:
    """Leases, settles, follows up and sweeps for one workflow at random."""

    def __init__(self, fleet: Fleet, graph: Graph, chance: random.Random, loss: float = 0.3) -> None:
        self.fleet, self.graph, self.chance, self.loss = fleet, graph, chance, loss
        self.leases = leases_of(fleet)
        self.begun: list[str] = []
        self.view = graph.build().enqueue(fleet)
        self.cancelled, self.cancelled_after = False, 0
        self._lost: set[str] = set()
        self._early = {f"n{node}": end for node, end in graph.ends.items() if end in EARLY_ENDS}

    def begin_again(self) -> None:
        """Forget what has begun: another round follows."""
        self.begun, self._early = [], {}
        self._lost.clear()

    def run(self, cancel_at: int | None = None) -> WorkflowView:
        """To the end, or until it is cancelled in that turn; fails where nothing goes on any more."""
        self._end_early()
        for number in range(MOST_TURNS):
            if number == cancel_at:
                self._cancel()
            for running in lease(self.leases, self.chance.randint(1, 4)):
                self._end(running)
            self.follow_up()
            self.sweep(due=self.chance.random() < 0.5)
            self.view = self.fleet.workflows.get(self.view.id)
            if self.view.ended:
                return self.view
        raise AssertionError(f"it never ended: {self.view}")

    def follow_up(self) -> None:
        """Do what follows, or lose it, as a worker does that dies."""
        now = views.rfc3339(datetime.now(UTC))
        if self.chance.random() < self.loss:
            self.fleet.redis.delete(keys.FOLLOW_UPS)
        script("claim_follow_ups")(self.fleet.redis, keys.PREFIX, 100, 15, now)

    def sweep(self, due: bool = True) -> None:
        if due:
            for workflow_id in self.fleet.redis.zrange(keys.WORKFLOWS, 0, -1):
                self.fleet.redis.zadd(keys.WORKFLOWS, {workflow_id: 1})
        self.leases.sweep_workflows()

    def _cancel(self) -> None:
        with suppress(Conflict):  # it has ended
            self.fleet.workflows.cancel(self.view.id)
            self.cancelled, self.cancelled_after = True, len(self.begun)

    def _end_early(self) -> None:
        for name, end in self._early.items():
            job_id = self.view.node(name).job_id
            if end == "deleted early":
                fetch(self.fleet, job_id).delete()
            else:
                with suppress(Conflict):  # skipped with one before it
                    self.fleet.jobs.cancel(job_id)

    def _end(self, running: Running) -> None:
        node = self._begin(running)
        kind = self.graph.undo_ends.get(int(node[6:]), "well") if ":" in node else self.graph.ends[int(node[1:])]
        if kind == "lost once" and node not in self._lost:
            self._lost.add(node)
            assert settle(self.leases, (running, Outcome("lost", message="it died"))) == ["ok"]
            return
        if kind == "deleted":
            fetch(self.fleet, running.job_id).delete()
        elif kind == "expired":
            self.fleet.redis.delete(keys.job(running.job_id))
        settle(self.leases, (running, OUTCOMES.get(kind, Outcome("finished", value=json.dumps({"node": node})))))

    def _begin(self, running: Running) -> str:
        """The node of a run that begins: once, and after its parents."""
        told: Any = self.fleet.redis.hget(keys.job(running.job_id), "node")
        node = str(told.decode())
        if node not in self._lost:
            assert node not in self.begun, f"{node} runs twice"
            self.begun.append(node)
        if ":" not in node:
            view = self.fleet.workflows.get(self.view.id)
            for parent, policy in self.graph.parents(int(node[1:])).items():
                state = view.node(f"n{parent}").status
                assert state == "completed" or (policy == "continue" and state in ("failed", "cancelled", "skipped"))
        return node


OUTCOMES = {
    "badly": Outcome("failed", None, "Permanent", "it broke"),
    "cancelled": Outcome("cancelled", None, "Cancelled", "it was cancelled"),
    "quarantined": Outcome("quarantined", message="nobody signed it"),
}
