"""What is to be done about an entry that is due: which runs are made, which are left out, and when it is due next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from redis.client import Pipeline

from jobs.engine import events, keys, new_jobs, schedule_runs
from jobs.engine.client import Client
from jobs.engine.new_jobs import NewJob
from jobs.engine.scheduler import names
from jobs.engine.scheduler.entries import Entry, State
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.schedules import due
from jobs.engine.schedules.periodic import run_id
from jobs.engine.scripts import script

JUST_AFTER = timedelta(microseconds=1)
log = structlog.get_logger(__name__)


@dataclass
class Plan:
    """What is to be written for an entry that is due at `score`, as it is seen `at` a time.

    `runs` are made, `skipped` met a run under way (`running`).
    """

    entry: Entry
    score: float
    at: datetime
    next: datetime
    missed: int
    paused: bool
    runs: list[NewJob] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    skipped: list[datetime] = field(default_factory=list)
    running: str = ""

    @property
    def sends(self) -> bool:
        """Whether there are runs to be put on their queue together with the move of the entry."""
        return bool(self.runs) and not self.entry.job_type.durable


def make(entry: Entry, state: State, lead: Leadership, client: Client) -> Plan:
    """The plan for an entry that is due. A run that can't be prepared is reported and left out."""
    schedule, now, score = state.schedule(entry.periodic), lead.now, state.score or 0.0
    since = schedule_runs.due_at(score)
    if state.reached is not None:
        since = max(since, schedule_runs.due_at(state.reached) + JUST_AFTER)
    found = due(schedule, since, now)
    plan = Plan(entry, score, now, found.next, 0 if state.paused else found.missed, state.paused)
    for at in () if state.paused else found.runs:
        if schedule.overlap == "skip" and _is_running(plan, lead):
            plan.skipped.append(at)
        elif (run := _prepared(entry, run_id(entry.id, at), client)) is not None:
            plan.runs.append(run)
            plan.times.append(at)
    return plan


def write(pipe: Pipeline, plan: Plan) -> None:
    """Make the runs and move the entry to its next time, in the caller's transaction; the first reply is the runs'.

    Those of a durable type stand in the ledger already.
    """
    entry_id = plan.entry.id
    if plan.sends:
        pipe.eval(script("enqueue").source, 0, keys.PREFIX, *new_jobs.arguments(plan.runs))
    pipe.zadd(names.SCHEDULED_JOBS, {entry_id: plan.next.timestamp()})
    pipe.hset(keys.schedule(entry_id), "reached", repr(plan.at.timestamp()))
    due_at = {run.id: at.timestamp() for run, at in zip(plan.runs, plan.times, strict=True)}
    schedule_runs.remember(pipe, entry_id, due_at)
    for word, count in (("skipped", len(plan.skipped)), ("missed", plan.missed)):
        if count:
            pipe.hincrby(keys.schedule(entry_id), word, count)
    if plan.skipped:
        data = {"entry": entry_id, "times": [at.isoformat() for at in plan.skipped], "running": plan.running}
        topic = events.stream_suffix(None, f"schedule:{entry_id}")
        pipe.eval(script("publish").source, 0, keys.PREFIX, topic, "schedule:skipped", json.dumps(data))


def report(plan: Plan, replies: Sequence[Any]) -> None:
    """Log what was done; `replies` are those to what `write` wrote."""
    entry = plan.entry.id
    refused = replies[0][::3] if plan.sends else []
    for place, run in enumerate(plan.runs, start=1):
        word = "skipped: it, or the one whose lock it needs, is there already" if place in refused else "enqueued"
        log.info(f"periodic run {word}", entry=entry, job_id=run.id)
    if plan.paused:
        log.info("periodic run left out: the entry is paused", entry=entry)
    if plan.skipped:
        times = [at.isoformat() for at in plan.skipped]
        log.warning("periodic run skipped: an earlier one is under way", entry=entry, running=plan.running, times=times)
    if plan.missed:
        log.warning("periodic times missed", entry=entry, count=plan.missed)


def _is_running(plan: Plan, lead: Leadership) -> bool:
    if not plan.running:
        entry_id, client = plan.entry.id, lead.connection
        known = [run.id for run in plan.runs]
        known += schedule_runs.under_way(client, schedule_runs.ids(client, entry_id))
        plan.running = known[0] if known else ""
    return bool(plan.running)


def _prepared(entry: Entry, run: str, client: Client) -> NewJob | None:
    try:
        return client.prepare(entry.job_type, [{}], options={"job_id": run})[0]
    except Exception:
        log.exception("periodic run refused", entry=entry.id, job_id=run)
        return None
