"""Lists of workflows: those that run and those that have ended, the newest first, page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import redis
from pydantic import BaseModel

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.places import Place, cursor_of, entries_after, place_of
from jobs.engine.workflows.views import WorkflowHead, head_of, number_of

State = Literal["running", "ended"]
INDEX: Mapping[State, str] = {"running": keys.WORKFLOWS_RUNNING, "ended": keys.WORKFLOWS_ENDED}
FIELDS = ("status", "cancelled_at", "name", "tenant", "round", "total", "done", "bad", "created_at", "ended_at")
MOST_LOOKED_AT = 2_000
"""Workflows that one page looks at; with a filter it may therefore be short before the end."""


class WorkflowSummary(WorkflowHead):
    """A workflow without its nodes; `bad` counts those that did not complete and had to."""

    bad: int = 0


class WorkflowPage(BaseModel):
    """Some workflows; `next_cursor` is None at the end. A page may be short, or empty, before the end."""

    items: list[WorkflowSummary]
    next_cursor: str | None = None


def page(
    client: redis.Redis, state: State, *, limit: int, cursor: str | None, tenant: str | None = None, text: str = ""
) -> WorkflowPage:
    """Up to `limit` workflows of a state whose name or id has that text, whatever its case.

    Raises ValueError for a cursor that is none of ours, BrokerUnavailable.
    """
    found: list[WorkflowSummary] = []
    last, looked = Place(), 0
    for entries in entries_after(client, INDEX[state], place_of(cursor), newest_first=True):
        for (flow_id, score), head in zip(entries, _heads(client, INDEX[state], entries), strict=True):
            if len(found) == limit:
                return WorkflowPage(items=found, next_cursor=cursor_of(last))
            last = Place(repr(score), flow_id)
            if head and _fits(flow_id, head, tenant, text):
                found.append(_summary(flow_id, head))
        looked += len(entries)
        if looked >= MOST_LOOKED_AT:
            return WorkflowPage(items=found, next_cursor=cursor_of(last))
    return WorkflowPage(items=found)


def counts(client: redis.Redis) -> dict[State, int]:
    """How many there are of each state, those included whose time has passed and that nobody looked at since."""
    with translate_errors(), client.pipeline(transaction=False) as pipe:
        for key in INDEX.values():
            pipe.zcard(key)
        return dict(zip(INDEX, pipe.execute(), strict=True))


def _heads(client: redis.Redis, index: str, entries: Sequence[tuple[str, float]]) -> list[dict[str, str]]:
    """What their hashes say of these workflows; entries of those whose time has passed are removed."""
    with translate_errors():
        with client.pipeline(transaction=False) as pipe:
            for flow_id, _ in entries:
                pipe.hmget(keys.workflow(flow_id), FIELDS)
            heads = [_head(values) for values in pipe.execute(raise_on_error=False)]
        gone = [flow_id for (flow_id, _), head in zip(entries, heads, strict=True) if not head]
        if gone:
            client.zrem(index, *gone)
    return heads


def _head(values: Any) -> dict[str, str]:
    if not isinstance(values, list) or values[0] is None:
        return {}
    pairs = zip(FIELDS, values, strict=True)
    return {name: value.decode("utf-8", "replace") for name, value in pairs if value is not None}


def _summary(flow_id: str, head: Mapping[str, str]) -> WorkflowSummary:
    return WorkflowSummary(**head_of(flow_id, head), bad=number_of(head, "bad"))


def _fits(flow_id: str, head: Mapping[str, str], tenant: str | None, text: str) -> bool:
    is_theirs = tenant is None or head.get("tenant", "") == tenant
    return is_theirs and (not text or text.lower() in head.get("name", "").lower() or text == flow_id)
