"""All that is kept of one job: what it is, what became of each of its runs, and why it waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine import keys, registry, views
from jobs.engine.broker import translate_errors
from jobs.engine.control import in_redis, policy_of
from jobs.engine.errors import BrokerUnavailable, UnknownJob
from jobs.engine.inspection import runs
from jobs.engine.inspection.runs import Run
from jobs.engine.ledger.table import JOBS
from jobs.engine.limits import Limit
from jobs.engine.local import tables
from jobs.engine.masking import shown_payload
from jobs.engine.output import MOST_LINES
from jobs.engine.policy import Policy
from jobs.engine.views import ENDED, JobView, LogLine, Status
from jobs.engine.waiting import Waiting

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST_EVENTS, MOST_RELATED = 200, 50
WAITS: frozenset[Status] = frozenset({"queued", "scheduled", "deferred"})


class Related(BaseModel):
    """Another job that this one waits for, or that waits for it; without a status it is gone."""

    id: str
    type: str = ""
    status: Status | None = None


class Told(BaseModel):
    """An event of the job."""

    id: str
    name: str
    at: datetime
    data: dict[str, Any]


class Rules(BaseModel):
    """The policy of its type as this release and the environment have it; times in seconds."""

    timeout: float | None
    max_retries: int
    strategy: str
    first_wait: float
    longest_wait: float
    kept_finished: float
    kept_failed: float
    memory_mb: int | None
    limits: list[str]
    unique: bool = False
    durable: bool = False
    known: bool = True
    """Whether this release knows the type."""


class Details(BaseModel):
    """A job with all that is kept of it; credentials are struck out of its payload.

    `may` lists what can be done with it now: retry, cancel, discard, promote. Lists of other jobs hold fifty at most.
    """

    job: JobView
    payload: dict[str, Any] | None = None
    runs: list[Run] = []
    lines: list[LogLine] = []
    rules: Rules
    waiting: Waiting | None = None
    depends_on: list[Related] = []
    dependents: list[Related] = []
    dependents_count: int = 0
    workflow: str = ""
    node: str = ""
    events: list[Told] = []
    retried: int = 0
    retried_by: str = ""
    unique_key: str = ""
    may: list[str] = []


def of_job(fleet: Fleet, job_id: str, tenant: str | None) -> Details:
    """The job of that id. Raises NotFound (another tenant's is as good as none), BrokerUnavailable."""
    view = fleet.jobs.get(job_id, tenant)
    kept = _from_redis(fleet, view) if fleet.has_broker and view.queued != "local" else None
    found = kept or _from_rows(fleet, view)
    if view.status in WAITS:
        with suppress(BrokerUnavailable):  # the ledger told of it: it waits for Redis
            found.waiting = fleet.jobs.why(job_id, tenant)
    found.may = _may(found, in_redis=kept is not None)
    return found


def _from_redis(fleet: Fleet, view: JobView) -> Details | None:
    """None where Redis does not know it, or is away and the ledger told of it."""
    try:
        with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.job(view.id))
            pipe.xrange(keys.results(view.id))
            pipe.xrevrange(keys.log(view.id), count=MOST_LINES)
            pipe.smembers(keys.dependencies(view.id))
            pipe.srandmember(keys.dependents(view.id), MOST_RELATED)
            pipe.scard(keys.dependents(view.id))
            raw, *rest = pipe.execute(raise_on_error=False)
    except BrokerUnavailable:
        return None
    if not isinstance(raw, Mapping) or not raw:
        return None
    results, log, dependencies, dependents, count = (None if isinstance(each, Exception) else each for each in rest)
    lines = [views.of_line(*line) for line in (log or [])[::-1]]
    events = _events(fleet, view)
    fields = {name.decode("utf-8", "replace"): value for name, value in raw.items()}
    text = {name: _text(fields, name) for name in ("execution", "settled", "workflow", "node", "retried_by")}
    return Details(
        job=view,
        payload=None if view.status == "quarantined" else shown_payload(fields.get("data", b"")),
        runs=runs.of_job(view, text["execution"] or text["settled"], results or [], lines, events),
        lines=lines,
        rules=_rules(fleet, view),
        depends_on=_related(fleet, view, dependencies or ()),
        dependents=_related(fleet, view, dependents or ()),
        dependents_count=count or 0,
        workflow=text["workflow"],
        node=text["node"],
        events=[Told(id=each.id, name=each.name, at=each.at, data=each.data) for each in events],
        retried=int(_text(fields, "retried") or 0) if _text(fields, "retried").isdigit() else 0,
        retried_by=text["retried_by"],
        unique_key=_text(fields, "unique_key"),
    )


def _from_rows(fleet: Fleet, view: JobView) -> Details:
    """What SQL keeps: the ledger's row, and in the local modes the job's own."""
    data, traceback = _row(fleet, view)
    lines: list[LogLine] = []
    with suppress(BrokerUnavailable):
        lines = fleet.jobs.log(view.id)
    events = _events(fleet, view)
    return Details(
        job=view,
        payload=shown_payload(data),
        runs=runs.of_row(view, traceback),
        lines=lines,
        rules=_rules(fleet, view),
        events=[Told(id=each.id, name=each.name, at=each.at, data=each.data) for each in events],
    )


def _row(fleet: Fleet, view: JobView) -> tuple[bytes, str]:
    table = tables.jobs
    try:
        with fleet.database.read() as session:
            if view.queued == "local":
                own = session.execute(select(table.c.data, table.c.traceback).where(table.c.id == view.id)).first()
                if own is not None:
                    return own.data, own.traceback or ""
            row = session.execute(select(JOBS.c.data).where(JOBS.c.id == view.id)).first()
    except SQLAlchemyError:
        return b"", ""
    return (row.data if row is not None else b""), ""


def _events(fleet: Fleet, view: JobView) -> list[Any]:
    with suppress(BrokerUnavailable, ValueError):  # RQ's clients may have ids that are no topic
        return list(fleet.events.read(f"job:{view.id}", tenant=view.tenant, count=MOST_EVENTS))
    return []


def _related(fleet: Fleet, view: JobView, members: Sequence[bytes]) -> list[Related]:
    """Other jobs; of another tenant's nothing but the id."""
    ids = sorted(member.decode("utf-8", "replace") for member in members)[:MOST_RELATED]
    found = in_redis(fleet.redis, ids) if ids else []
    return [
        Related(id=job_id, type=other.type, status=other.status)
        if other is not None and other.tenant == view.tenant
        else Related(id=job_id)
        for job_id, other in zip(ids, found, strict=True)
    ]


def _rules(fleet: Fleet, view: JobView) -> Rules:
    policy: Policy = policy_of(fleet, view.type)
    retry, retention = policy.retry, policy.retention
    rules = Rules(
        timeout=_seconds(policy.timeout),
        max_retries=retry.max_retries,
        strategy=retry.strategy,
        first_wait=retry.first.total_seconds(),
        longest_wait=retry.longest.total_seconds(),
        kept_finished=retention.finished.total_seconds(),
        kept_failed=retention.failed.total_seconds(),
        memory_mb=policy.memory_mb,
        limits=[_limit(each) for each in policy.limits],
    )
    try:
        known = registry.get(view.type)
    except UnknownJob:
        return rules.model_copy(update={"known": False})
    return rules.model_copy(update={"unique": known.unique is not None, "durable": known.durable})


def _limit(limit: Limit) -> str:
    if limit.count is None:
        return f"turns by {limit.fair}"
    return f"{limit.count} at once{' per ' + ', '.join(limit.per) if limit.per else ''}"


def _may(found: Details, *, in_redis: bool) -> list[str]:
    status, may = found.job.status, []
    if status in ("failed", "cancelled", "quarantined") and not found.workflow:
        may.append("retry")
    if status in WAITS or status in ("started", "quarantined"):
        may.append("cancel")
    if status in ("queued", "scheduled"):
        may.append("promote")
    if status in ENDED and (in_redis or found.job.queued == "local"):
        may.append("discard")
    return may


def _seconds(time: timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()


def _text(fields: Mapping[str, bytes], name: str) -> str:
    return fields.get(name, b"").decode("utf-8", "replace")
