"""Building: a workflow is put together of nodes and edges, in memory; nothing is written before `enqueue`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from jobs.engine.errors import InvalidWorkflow
from jobs.engine.job_types import JobType
from jobs.engine.payloads import Payload
from jobs.engine.placeholders import Draft, Result
from jobs.engine.policy import Queue

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet
    from jobs.engine.transactions import AnyTransaction
    from jobs.engine.workflows.views import WorkflowView

EdgePolicy = Literal["fail", "continue", "compensate"]
Given = Payload | Draft | Mapping[str, Any]
MOST_NODES, MOST_EDGES = 1000, 10_000
KEPT = timedelta(days=7)
NODE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
WORKFLOW_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NodeOptions(TypedDict, total=False):
    """What a node may say about its job."""

    priority: Queue | None
    timeout: timedelta | None
    deadline: datetime | None


@dataclass(eq=False)
class Node:
    """A job of a workflow. `after` says for each node it waits for what happens when that does not complete."""

    name: str
    job_type: JobType[Any]
    payload: Given
    options: NodeOptions
    after: dict[str, EdgePolicy] = field(default_factory=dict)
    undo: tuple[JobType[Any], Given] | None = None

    @property
    def result(self) -> Any:
        """Stands for what the job will return, in the payload of a node behind it: `extract.result["rows"]`."""
        return Result(self.name)

    def compensate(self, job_type: JobType[Any], payload: Any) -> Node:
        """Undo this node with that job, whose payload may take the node's own result; returns the node."""
        self.undo = (job_type, payload)
        return self


class Workflow:
    """Jobs that wait for each other, enqueued as one.

    `id` makes enqueueing repeatable: the same id and content is enqueued once. `topics` hear of it besides its own,
    `workflow:ID`. How each node ended is kept for `keep` after the end.
    """

    def __init__(
        self,
        name: str,
        *,
        tenant: str | None = None,
        id: str | None = None,
        topics: Iterable[str] = (),
        keep: timedelta = KEPT,
    ) -> None:
        if not name or len(name) > 200 or not name.isprintable():
            raise InvalidWorkflow("a workflow needs a name of up to 200 printable characters")
        if id is not None and not WORKFLOW_ID.fullmatch(id):
            raise InvalidWorkflow("a workflow's id is 1 to 64 of A-Z, a-z, 0-9, _ and -")
        if not timedelta(minutes=1) <= keep <= timedelta(days=366):
            raise InvalidWorkflow("a workflow is kept for a minute to a year after its end")
        self.name, self.tenant, self.id, self.topics, self.keep = name, tenant, id, tuple(topics), keep
        self.nodes: dict[str, Node] = {}

    def add(
        self,
        job_type: JobType[Any],
        payload: Any,
        *,
        name: str | None = None,
        after: Node | str | Iterable[Node | str] | Mapping[Any, EdgePolicy] = (),
        compensate: JobType[Any] | None = None,
        **options: Unpack[NodeOptions],
    ) -> Node:
        """Add a job that begins when those it comes `after` have ended; returns its node.

        `payload` is one of the type, or a mapping, with results of other nodes where values may be: those it waits for,
        too. `after` names nodes or gives them a policy: "fail" (the job is skipped when that node does not complete),
        "continue" (it runs all the same), "compensate" (it is skipped, and what completed before it is undone).
        `compensate` is the job that undoes this one, with the same payload. Raises InvalidWorkflow.
        """
        name = self._free_name(job_type) if name is None else name
        if not NODE_NAME.fullmatch(name) or name in self.nodes:
            raise InvalidWorkflow(f"{name!r} is no node's name, or taken: up to 64 of A-Z, a-z, 0-9, _ and -")
        if len(self.nodes) >= MOST_NODES:
            raise InvalidWorkflow(f"a workflow has at most {MOST_NODES} nodes: enqueue another from its last one")
        node = Node(name, job_type, payload, options, dict(_edges(after)))
        if compensate is not None:
            node.undo = (compensate, payload)
        self.nodes[name] = node
        return node

    def result(self, name: str) -> Any:
        """Stands for the result of the node of that name, which may be added later."""
        return Result(name)

    def enqueue(self, fleet: Fleet | None = None, *, session: AnyTransaction | None = None) -> WorkflowView:
        """Check it and write it whole, or nothing of it; the jobs that wait for none are queued.

        With a job of a durable type the whole is durable: a row in the ledger, written in the transaction of `session`
        where one is given. Returns the workflow (the earlier one where its id says that it is there already).

        Raises InvalidWorkflow, InvalidPayload, PayloadTooLarge, MissingEncryptionKey, IdempotencyConflict (the id was
        used for another one), BrokerUnavailable; then it may be repeated, without harm where it has an id.
        """
        if fleet is None:
            from jobs.engine.fleet import current_fleet

            fleet = current_fleet()
        return fleet.workflows.enqueue(self, session)

    def _free_name(self, job_type: JobType[Any]) -> str:
        verb = job_type.name.rpartition(".")[2]
        names = (verb if number == 1 else f"{verb}-{number}" for number in range(1, MOST_NODES + 2))
        return next(name for name in names if name not in self.nodes)


def _edges(after: Any) -> Iterator[tuple[str, EdgePolicy]]:
    if isinstance(after, Node | str):
        after = (after,)
    for each in after:
        policy: Any = after[each] if isinstance(after, Mapping) else "fail"
        if policy not in ("fail", "continue", "compensate"):
            raise InvalidWorkflow(f"an edge's policy is fail, continue or compensate, not {policy!r}")
        if not isinstance(each, Node | str):
            raise InvalidWorkflow(f"a node comes after nodes or their names, not after {each!r}")
        yield (each.name if isinstance(each, Node) else each), policy
