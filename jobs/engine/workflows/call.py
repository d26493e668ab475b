"""What the script that accepts a workflow is told, as a value that can be kept in a row and sent again."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import redis

from jobs.engine import keys, views
from jobs.engine.broker import translate_errors
from jobs.engine.errors import IdempotencyConflict
from jobs.engine.heads import as_json
from jobs.engine.ledger.fences import Fence
from jobs.engine.scripts import script
from jobs.engine.workflows.sign import NewNode

Node = tuple[bytes, str, str, bytes, bytes, bytes]
"""Its head, name, job id, signed data, further fields and plan; all but name, id and data are JSON."""


@dataclass(frozen=True)
class Call:
    """A workflow's own fields and its nodes, compensations included."""

    head: Mapping[str, str]
    nodes: Sequence[Node]

    def send(
        self, client: redis.Redis, workflow_id: str, now: str, known: str = "", fence: Fence | None = None
    ) -> list[str] | None:
        """Accept it; None, tenant and digest of the one that is there, or the word late behind its `fence`.

        `known` is a snapshot to go on from.
        """
        until = (fence.epoch, f"{fence.until:.6f}") if fence else ()
        reply: Any = script("workflow_enqueue")(
            client, keys.PREFIX, workflow_id, now, json.dumps(dict(self.head)), known, *wire(self.nodes), *until
        )
        return [(part or b"").decode("utf-8", "replace") for part in reply] if reply else None

    def with_nodes(self, changed: Sequence[Node]) -> Call:
        """The same with some nodes in the place of those of their names."""
        new = {node[1]: node for node in changed}
        return replace(self, nodes=[new.get(node[1], node) for node in self.nodes])

    def packed(self) -> bytes:
        """As bytes for a row."""
        told = [[*(part.decode() for part in (head, more, plan)), name, job_id, b64encode(data).decode()]
                for head, name, job_id, data, more, plan in self.nodes]  # fmt: skip
        return zlib.compress(json.dumps({"head": dict(self.head), "nodes": told}).encode())

    @classmethod
    def unpacked(cls, data: bytes) -> Call:
        """From the bytes of a row."""
        told = json.loads(zlib.decompress(data))
        nodes = [
            (head.encode(), name, job_id, b64decode(signed), more.encode(), plan.encode())
            for head, more, plan, name, job_id, signed in told["nodes"]
        ]
        return cls(told["head"], nodes)


def nodes_of(new: Sequence[NewNode]) -> list[Node]:
    """Signed nodes as they are told."""
    return [(node.head.wire, node.name, node.job_id, node.data, as_json(node.more), as_json(node.plan)) for node in new]


def wire(nodes: Sequence[Node]) -> list[str | bytes | int]:
    """What `lua/lib_workflow_begin.lua` reads: heads, then the nodes."""
    heads: dict[bytes, int] = {}
    told: list[str | bytes | int] = []
    for head, name, job_id, data, more, plan in nodes:
        told += (heads.setdefault(head, len(heads) + 1), name, job_id, data, more, plan)
    return [len(heads), *heads, *told]


def replay(client: redis.Redis, workflow_id: str, round_: int, nodes: Sequence[Node]) -> str:
    """Run nodes of an ended round again, once: again, changed or missing. Raises BrokerUnavailable."""
    now = views.rfc3339(datetime.now(UTC))
    with translate_errors():
        word: bytes = script("workflow_replay")(client, keys.PREFIX, workflow_id, now, round_, *wire(nodes))
    return word.decode()


def check_same(known: Sequence[str], tenant: str, digests: Sequence[str]) -> None:
    """Raise IdempotencyConflict unless the tenant and digest of the one that is there are the same."""
    if known[0] != tenant:
        raise IdempotencyConflict("this workflow id is taken")
    if known[1] not in digests:
        raise IdempotencyConflict("this workflow id was used before for another workflow")
