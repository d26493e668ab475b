"""Searching jobs in Redis and in the ledger together: page after page, newest first, with bounded work a page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import BaseModel

from jobs.engine import keys, views
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.inspection import history, registries
from jobs.engine.inspection.places import END, START, Place, cursor_of, places_of
from jobs.engine.inspection.walks import Found, Looker, Walk
from jobs.engine.inspection.where import JOB_ID, State, Where
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

LOOK_AT = 500
"""Entries that one call looks at: one to two milliseconds of Redis."""
MOST_LOOKED, WITHIN = 20_000, timedelta(seconds=0.1)
"""What a page may take, but that every walk looks once; then it says how far it came."""
SHOWN = (
    *("status", "quarantined", "type", "description", "origin", "lane", "tenant", "attempts", "max_retries"),
    *("created_at", "enqueued_at", "started_at", "ended_at", "scheduled_for", "deadline", "progress", "error"),
    *("worker_name", "correlation_id"),
)
log = structlog.get_logger("inspection")


class Page(BaseModel):
    """Some jobs, newest first as far as was looked; `next_cursor` is None at the end.

    `texts` has the exception of those that failed for good, in one line for operators, by their ids.

    A page may be short, or empty, before the end: `looked` is at how many entries it looked. `away` names what could
    not be asked: "redis" or "ledger".
    """

    items: Sequence[JobView]
    texts: dict[str, str] = {}
    looked: int = 0
    away: list[str] = []
    next_cursor: str | None = None


class Turn:
    """One walk of a page: what it found so far, and where it is."""

    def __init__(self, walk: Walk, place: Place | None) -> None:
        self.walk, self.place = walk, place
        self.found: list[Found] = []
        self.taken, self.is_lost = 0, False

    def may_look(self, most: int) -> bool:
        """Whether it may find more, and has not so many already."""
        return self.place is not None and not self.is_lost and len(self.found) < most

    def look(self, most: int) -> int:
        """Go on for up to so many jobs in all; at how many entries it looked."""
        if self.place is None:
            return 0
        step = self.walk.look(self.place, most - len(self.found), LOOK_AT)
        self.found += step.found
        self.place = step.place
        return step.looked

    @property
    def head(self) -> Found | None:
        """The first job that no page has had."""
        return self.found[self.taken] if self.taken < len(self.found) else None

    @property
    def rest(self) -> Place | None:
        """Where the next page goes on."""
        return self.head.place if self.head else self.place


def page(fleet: Fleet, where: Where, limit: int, cursor: str | None) -> Page:
    """Up to `limit` jobs after `cursor`. Raises ValueError for a cursor that is none, BrokerUnavailable."""
    places = places_of(cursor)
    named = [] if cursor else named_by(fleet, where)
    away: list[str] = []
    begin = END if cursor else START
    turns = [Turn(walk, places.get(walk.name, begin)) for walk in walks(fleet, where, where.states, away)]
    looked = _look(turns, limit, away)
    if {"redis", "ledger"} <= set(away):
        raise BrokerUnavailable("neither Redis nor the database can be asked for jobs")
    found = list(_merged(turns, limit, {view.id for view in named}))
    rest = {turn.walk.name: place for turn in turns if (place := turn.rest) is not None}
    shown = named + [view for view in _views(fleet, found, away) if where.state in (None, view.status)]
    texts = _texts(fleet, shown, away)
    return Page(items=shown, texts=texts, looked=looked, away=away, next_cursor=cursor_of(rest) if rest else None)


def walks(fleet: Fleet, where: Where, states: Sequence[State], away: list[str], *, latest: str = "") -> list[Walk]:
    """All walks through what is meant. What can't be asked is added to `away`."""
    found = history.walks(fleet, where, states)
    if found and not history.answers(fleet):
        away.append("ledger")
        found = []
    if not fleet.has_broker:
        return found
    try:
        looker = Looker(fleet.redis, where, durable=not found, latest=latest)
        return found + registries.walks(fleet.redis, where, states, looker)
    except BrokerUnavailable:
        away.append("redis")
        return found


def _look(turns: Sequence[Turn], limit: int, away: list[str]) -> int:
    """Have each walk look in turn until there is enough, all of them once; at how many entries they looked."""
    give_up, looked = time.monotonic() + WITHIN.total_seconds(), 0
    ahead = [turn for turn in turns if turn.place is not None]
    while ahead:
        for turn in ahead:
            looked += _look_once(turn, limit, away)
        is_enough = sum(len(turn.found) for turn in turns) >= limit or looked >= MOST_LOOKED
        if is_enough or time.monotonic() > give_up:
            break
        ahead = [turn for turn in ahead if turn.may_look(limit)]
    return looked


def _look_once(turn: Turn, limit: int, away: list[str]) -> int:
    try:
        return turn.look(limit)
    except BrokerUnavailable as error:
        log.warning("a search could not look", at=turn.walk.name, error=str(error))
        lost = "ledger" if turn.walk.name.startswith("ledger") else "redis"
        away += [lost] if lost not in away else []
        turn.is_lost = True
        return 0


def _merged(turns: Sequence[Turn], limit: int, known: set[str]) -> Iterator[Found]:
    """The latest jobs of all walks, each once; every walk's in its own order."""
    given = 0
    while given < limit:
        ahead = [turn for turn in turns if turn.head is not None]
        if not ahead:
            return
        turn = max(ahead, key=lambda each: each.head.latest if each.head else "")
        found = turn.found[turn.taken]
        turn.taken += 1
        if found.id not in known:
            known.add(found.id)
            given += 1
            yield found


def named_by(fleet: Fleet, where: Where) -> list[JobView]:
    """The job whose id the text is, if all the rest holds of it."""
    if where.text is None or not JOB_ID.fullmatch(where.text):
        return []
    view: JobView | None = None
    with suppress(BrokerUnavailable):  # the ledger does not know it
        (view,) = fleet.jobs.get_many([where.text])
    if view is None or where.field is not None or where.error is not None:
        return []
    wanted = [(where.state, view.status), (where.type, view.type), (where.tenant, view.tenant)]
    wanted += [(where.queue, view.queue), (where.lane, view.lane or "default")]
    made, since, until = view.created_at, where.since, where.until
    is_within = (since is None or (made and made >= since)) and (until is None or (made and made < until))
    return [view] if is_within and all(want in (None, has) for want, has in wanted) else []


def _views(fleet: Fleet, found: Sequence[Found], away: Sequence[str]) -> list[JobView]:
    """What Redis says of them now, or else the ledger."""
    live: Sequence[JobView | None] = [None] * len(found)
    if not fleet.has_broker:
        live = fleet.jobs.get_many([each.id for each in found])
    elif "redis" not in away:
        live = heads_of(fleet, [each.id for each in found])
    pairs = zip(live, found, strict=True)
    return [view for now, each in pairs if (view := now or each.view) is not None]


def _texts(fleet: Fleet, shown: Sequence[JobView], away: Sequence[str]) -> dict[str, str]:
    """What the failed ones raised."""
    failed = [view.id for view in shown if view.status == "failed"]
    if not failed or not fleet.has_broker or "redis" in away:
        return {}
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        for job_id in failed:
            pipe.hget(keys.job(job_id), "error_text")
        texts = zip(failed, pipe.execute(raise_on_error=False), strict=True)
        return {job_id: text.decode("utf-8", "replace") for job_id, text in texts if isinstance(text, bytes)}


def heads_of(fleet: Fleet, job_ids: Sequence[str]) -> list[JobView | None]:
    """Several jobs as lists show them, without payloads and results; None for what Redis does not know.

    What is set aside and can't be read is shown with the reason. Raises BrokerUnavailable.
    """
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), SHOWN)
            pipe.hget(keys.QUARANTINE_REASONS, job_id)
        replies: list[Any] = pipe.execute(raise_on_error=False)
    return [_head(job_id, replies[2 * n], replies[2 * n + 1]) for n, job_id in enumerate(job_ids)]


def _head(job_id: str, values: Any, reason: Any) -> JobView | None:
    fields = values if isinstance(values, list) else []
    raw = {name.encode(): value for name, value in zip(SHOWN, fields, strict=False) if value is not None}
    if not raw.get(b"status") and isinstance(reason, bytes):
        raw[b"quarantined"] = reason
    return views.of_hash(job_id, raw) if raw else None
