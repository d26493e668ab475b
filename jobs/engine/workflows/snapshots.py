"""What is noted of a durable workflow, for a Redis that loses it: its state, and results in rows of their own."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import redis
from sqlalchemy import RowMapping, select

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.database import Database
from jobs.engine.idempotency.upserts import insert_new
from jobs.engine.workflows.check import UNDO
from jobs.engine.workflows.table import RESULTS
from jobs.engine.workflows.views import number_of, text_of

ROOM = 1024 * 1024
"""Bytes of results (base64) that are copied at once; one is 341 KiB at most."""
LIVE = ("waiting", "queued")
OF_ONE_ROUND = ("cancelled_at", "undo", "undoing", "ended_at")


class Snapshot(NamedTuple):
    """The hashes of a workflow at one moment, as text."""

    head: dict[str, str]
    state: dict[str, str]

    @property
    def round(self) -> int:
        """Which of its runs this is, from 1."""
        return number_of(self.head, "round") or 1

    def packed(self) -> bytes:
        """As bytes for a row; compressed as fast as can be, since this is done each second."""
        return zlib.compress(json.dumps(self._asdict(), separators=(",", ":")).encode(), 1)

    def replayed(self, names: Collection[str]) -> Snapshot:
        """What lua/workflow_replay.lua leaves of it before it writes these nodes and compensations anew."""
        gone = {f"{kind}:{name}" for name in names for kind in "spoeuj"}
        state = {field: value for field, value in self.state.items() if field not in gone and field[:2] != "u:"}
        head = {name: value for name, value in self.head.items() if name not in OF_ONE_ROUND}
        done = str(sum(_is_end(field, word) for field, word in state.items()))
        return Snapshot({**head, "status": "running", "round": str(self.round + 1), "done": done}, state)


def of_row(packed: bytes | None) -> Snapshot:
    """What a row holds; nothing of a workflow that nobody has looked at."""
    told = _unpacked(packed)
    return Snapshot(told["head"], told["state"])


def of_redis(client: redis.Redis, workflow_id: str) -> tuple[Snapshot | None, dict[str, str]]:
    """How it is now, None where Redis knows nothing; and its nodes whose results are kept, by their jobs.

    Raises BrokerUnavailable.
    """
    key = keys.workflow(workflow_id)
    with translate_errors(), client.pipeline() as pipe:
        pipe.hgetall(key)
        pipe.hgetall(f"{key}:state")
        pipe.hkeys(f"{key}:results")
        head, state, kept = pipe.execute()
    if not head:
        return None, {}
    snapshot = Snapshot(text_of(head), text_of(state))
    return snapshot, {snapshot.state.get(f"j:{name}", ""): name for name in (each.decode() for each in kept)}


def copy_results(database: Database, client: redis.Redis, workflow_id: str, jobs: Mapping[str, str]) -> bool:
    """Write results that no row has yet, as many as there is ROOM for; whether all are written now.

    `jobs` are as `of_redis` gives them. A result is written once: a node that is replayed has another job. Raises
    BrokerUnavailable.
    """
    if not jobs:
        return True
    with database.read() as session:
        query = select(RESULTS.c.job_id).where(RESULTS.c.workflow_id == workflow_id)
        known = set(session.execute(query).scalars())
    missing = [job_id for job_id in jobs if job_id not in known]
    found = _within_room(client, workflow_id, [jobs[job_id] for job_id in missing])
    if found:
        rows = [
            {"workflow_id": workflow_id, "job_id": job_id, "result": zlib.compress(result, 1)}
            for job_id, result in zip(missing, found, strict=False)
        ]
        with database.begin(durable=False) as session:
            insert_new(session, RESULTS, rows, by=("workflow_id", "job_id"))
    return len(found) == len(missing)


def known(database: Database, row: RowMapping, now: str) -> str:
    """What lua/workflow_enqueue.lua is told of an earlier life of a workflow: JSON, or nothing."""
    told = _unpacked(row["state"])
    head, state = told["head"], told["state"]
    if row["cancelled"] == (number_of(head, "round") or 1):
        head = {"status": "running", **head, "cancelled_at": head.get("cancelled_at", now)}
    if not head:
        return ""
    nodes = {job_id: field[2:] for field, job_id in state.items() if field.startswith("j:")}
    with database.read() as session:
        query = select(RESULTS.c.job_id, RESULTS.c.result).where(RESULTS.c.workflow_id == row["id"])
        results = {
            nodes[job_id]: zlib.decompress(result).decode()
            for job_id, result in session.execute(query)
            if job_id in nodes
        }
    return json.dumps({"head": head, "state": state, "results": {**told.get("results", {}), **results}})


def _unpacked(packed: bytes | None) -> dict[str, dict[str, str]]:
    """Rows of earlier releases hold `results`, too."""
    told: dict[str, dict[str, str]] = json.loads(zlib.decompress(packed)) if packed else {"head": {}, "state": {}}
    return told


def _is_end(field: str, word: str) -> bool:
    return field.startswith("s:") and not field.startswith(f"s:{UNDO}") and word not in LIVE


def _within_room(client: redis.Redis, workflow_id: str, names: Sequence[str]) -> list[bytes]:
    """The results of the first of these nodes, at least one's."""
    key = f"{keys.workflow(workflow_id)}:results"
    with translate_errors():
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hstrlen(key, name)
            sizes: list[int] = pipe.execute()
        taken, size = 0, 0
        while taken < len(names) and (taken == 0 or size + sizes[taken] <= ROOM):
            size += sizes[taken]
            taken += 1
        found: Any = client.hmget(key, list(names[:taken])) if taken else []
    return [each or b"" for each in found]
