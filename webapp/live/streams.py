"""Server-sent events: a job's until it has ended, a workspace's until the client leaves."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.engine import BrokerUnavailable, Event, Fleet, JobView, NotFound
from jobs.engine.events import Subscription
from webapp.live.connections import connections
from webapp.live.traffic import SENT_BY_STREAM
from webapp.revocation import ENDED
from webapp.standings import Watched, unwatched

KEEP_ALIVE = timedelta(seconds=10)
OPENING = "retry: 2000\n: connected\n\n"
COMMENT = ": still here\n\n"
PAGE = 200
NOBODYS = "signin:none"
LAST = frozenset({"job:completed", "job:failed", "job:cancelled", "job:quarantined"})


def follow_job(
    fleet: Fleet,
    job: JobView,
    after: str | None,
    until: datetime,
    keep_alive: timedelta = KEEP_ALIVE,
    *,
    sign_in: str = NOBODYS,
    watched: Watched = unwatched,
) -> Generator[str]:
    """What is kept of the job's events after the id, then what happens, up to and with the event that ends it.

    Until the first piece is there, Redis' being away raises BrokerUnavailable, here and in `follow_topic`.
    """
    topic = f"job:{job.id}"
    if job.ended:
        kept = _kept(fleet, job, after)
        yield OPENING + next(kept, "")
        yield from kept
        return
    with _following(fleet, topic, job.tenant, after or "0", sign_in, watched) as subscription:
        yield OPENING
        for event in _events(subscription, until, keep_alive):
            if event is not None:
                after = event.id
                yield _written(event)
            if event is None or event.name in LAST:
                now = _now(fleet, job)
                if now.ended:
                    yield from _kept(fleet, now, after, told=event is not None)
                    return
            if event is None:
                yield COMMENT


def follow_topic(
    fleet: Fleet,
    topic: str,
    tenant: str,
    after: str | None,
    until: datetime,
    keep_alive: timedelta = KEEP_ALIVE,
    *,
    sign_in: str = NOBODYS,
    watched: Watched = unwatched,
) -> Generator[str]:
    """The topic's events after the id (from now on without one), for as long as the client listens."""
    with _following(fleet, topic, tenant, after, sign_in, watched) as subscription:
        yield OPENING
        for event in _events(subscription, until, keep_alive):
            yield COMMENT if event is None else _written(event)


def nothing_left(fleet: Fleet, job: JobView, after: str | None) -> bool:
    """Whether a client that saw the events up to `after` has seen the job's end, and need not come again."""
    return after is not None and job.ended and not fleet.events.read(f"job:{job.id}", tenant=job.tenant, after=after)


@contextmanager
def _following(
    fleet: Fleet, topic: str, tenant: str, after: str | None, sign_in: str, watched: Watched
) -> Iterator[Subscription]:
    """A subscription that counts as a live connection, and ends with its sign-in and with its account.

    One that begins with a replay connects to Redis only later, so it asks for a sign of life now.
    """
    if after:
        fleet.ping()
    starts = {sign_in: "0"} | ({topic: after} if after else {})
    subscription = fleet.events.subscribe([topic, sign_in], tenant=tenant, after=starts)
    with subscription, connections.hold(tenant, subscription.close), watched(subscription.close):
        yield subscription


def _events(subscription: Subscription, until: datetime, pause: timedelta) -> Iterator[Event | None]:
    """Each event, and None whenever there was none for a while; ends with the sign-in, the process or Redis' errors."""
    while not subscription.closed and datetime.now(UTC) < until:
        event = subscription.get(pause.total_seconds())
        if event is not None and event.name == ENDED:
            return
        if not subscription.closed:
            yield event


def _kept(fleet: Fleet, job: JobView, after: str | None, told: bool = False) -> Iterator[str]:
    """The rest of an ended job's events; where its last one is not kept any more, one that says the same."""
    topic = f"job:{job.id}"
    while page := fleet.events.read(topic, tenant=job.tenant, after=after, count=PAGE):
        for event in page:
            yield _written(event)
            told = event.name in LAST
        after = page[-1].id
    if not told:
        yield _message({"topic": topic, "event": f"job:{job.status}", "data": _said_of(job)})


def _said_of(job: JobView) -> dict[str, Any]:
    data: dict[str, Any] = {"job_id": job.id, "type": job.type, "attempt": job.attempts}
    return data | ({"error": job.error.model_dump(), "final": True} if job.error else {})


def _now(fleet: Fleet, job: JobView) -> JobView:
    """The job as it is; as it was while Redis is away, and cancelled once it is deleted."""
    try:
        return fleet.jobs.get(job.id, job.tenant)
    except BrokerUnavailable:
        return job
    except NotFound:
        return job.model_copy(update={"status": "cancelled"})


def _written(event: Event) -> str:
    SENT_BY_STREAM.inc()
    return f"id: {event.id}\n{_message(event.as_dict())}"


def _message(content: dict[str, Any]) -> str:
    return f"event: {content['event']}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n"
