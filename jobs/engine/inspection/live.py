"""Jobs that a search found, as they are now: an action only touches what still is what it was found to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.engine import keys, views
from jobs.engine.broker import translate_errors
from jobs.engine.inspection import history
from jobs.engine.inspection.walks import Found
from jobs.engine.inspection.where import State
from jobs.engine.views import Status

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

HEAD = (
    *("status", "quarantined", "settled", "type", "tenant", "ledger"),
    *("ended_at", "started_at", "enqueued_at", "created_at"),
)


class Live(NamedTuple):
    """A job now; `word` is its status as its hash has it, nothing where there is no hash that can be read."""

    id: str
    state: Status
    latest: str
    word: str = ""
    job_type: str = ""
    settled: str = ""
    durable: bool = False
    tenant: str = ""


def meant(fleet: Fleet, found: Sequence[Found], states: Sequence[State], until: str = "") -> list[Live]:
    """Those that are in one of the states, and of which nothing has become since `until`. Raises BrokerUnavailable."""
    if not found:
        return []
    live = _of_hashes(fleet, found) if fleet.has_broker else _of_views(fleet, found)
    return [each for each in live if each.state in states and (not until or each.latest <= until)]


def _of_views(fleet: Fleet, found: Sequence[Found]) -> list[Live]:
    views_now = fleet.jobs.get_many([each.id for each in found])
    return [
        Live(view.id, view.status, history.latest_of(view), tenant=view.tenant or "")
        for view in views_now
        if view is not None
    ]


def _of_hashes(fleet: Fleet, found: Sequence[Found]) -> list[Live]:
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        for each in found:
            pipe.hmget(keys.job(each.id), HEAD)
        replies: list[Any] = pipe.execute(raise_on_error=False)
    return [_live(each, reply) for each, reply in zip(found, replies, strict=True)]


def _live(found: Found, reply: Any) -> Live:
    values = reply if isinstance(reply, list) else [None] * len(HEAD)
    head = {name: (value or b"").decode("utf-8", "replace") for name, value in zip(HEAD, values, strict=True)}
    times = (head[name] for name in ("ended_at", "started_at", "enqueued_at", "created_at"))
    latest = next((moment for moment in times if moment), found.latest)
    is_aside = values[HEAD.index("quarantined")] is not None
    settled = "" if is_aside else head["settled"]
    state = _state_of(found, head["status"], is_aside)
    tenant = head["tenant"] or (found.view.tenant if found.view else None) or ""
    return Live(found.id, state, latest, head["status"], head["type"], settled, bool(head["ledger"]), tenant)


def _state_of(found: Found, word: str, is_aside: bool) -> Status:
    if is_aside or (not word and found.view is None):
        return "quarantined"
    return views.WORDS.get(word, "unknown") if word or found.view is None else found.view.status
