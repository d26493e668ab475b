"""What is to be done about an entry that is due: which runs are made, which are left out, and when it is due next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from redis.client import Pipeline

from jobs.engine import events, keys, new_jobs, schedule_runs
from jobs.engine.client import Client
from jobs.engine.new_jobs import NewJob
from jobs.engine.scheduler.entries import Entry, State
from jobs.engine.scheduler.leadership import Leadership
from jobs.engine.schedules import Overlap, due
from jobs.engine.schedules.periodic import run_id
from jobs.engine.scripts import script

JUST_AFTER = timedelta(microseconds=1)
log = structlog.get_logger(__name__)


@dataclass
class Plan:
    """What is to be written for an entry that is due at `score`, as it is seen `at` a time.

    `runs` are made, `skipped` met a run under way (`running`), and `found` (ids, epoch seconds) were made by somebody
    who could not say so any more. No time before `since` is looked at.
    """

    entry: Entry
    score: float
    at: datetime
    next: datetime
    missed: int
    paused: bool
    since: datetime
    overlap: Overlap
    runs: list[NewJob] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    skipped: list[datetime] = field(default_factory=list)
    running: str = ""
    found: dict[str, float] = field(default_factory=dict)

    @property
    def sends(self) -> bool:
        """Whether there are runs to be put on their queue together with the move of the entry."""
        return bool(self.runs) and not self.entry.job_type.durable


def make(entry: Entry, state: State, lead: Leadership, client: Client) -> Plan:
    """The plan for an entry that is due. A run that can't be prepared is reported and left out."""
    schedule, now, score = state.schedule(entry.periodic), lead.now, state.score or 0.0
    since, made = schedule_runs.due_at(score), set[str]()
    if state.reached is not None:
        if (reached := schedule_runs.due_at(state.reached)) <= now:
            since = max(since, reached + JUST_AFTER)
        made.update(schedule_runs.ids(lead.connection, entry.id))
    found = due(schedule, since, now)
    plan = Plan(
        entry, score, now, found.next, 0 if state.paused else found.missed, state.paused, since, schedule.overlap
    )
    for at in () if state.paused else found.runs:
        if (run := run_id(entry.id, at)) in made:
            continue
        if schedule.overlap == "skip" and _is_running(plan, found.runs, lead):
            plan.skipped.append(at)
        elif (job := _prepared(entry, run, client)) is not None:
            plan.runs.append(job)
            plan.times.append(at)
    return plan


def compare(plan: Plan, made: Mapping[str, float], others: Sequence[str]) -> None:
    """Take into a plan what the ledger knows: runs `made` (ids, epoch seconds) for the times it looks at, and `others`
    of the entry that are under way, where runs must not overlap."""
    own = {run.id for run in plan.runs}
    skipped = {at.timestamp() for at in plan.skipped}
    plan.found = {run: at for run, at in made.items() if run not in own and at not in skipped}
    plan.missed = max(0, plan.missed - len(plan.found))
    running = [run for run in others if run not in own]
    if running and plan.runs:
        plan.skipped, plan.running = sorted(plan.skipped + plan.times), running[0]
        plan.runs, plan.times = [], []


def write(pipe: Pipeline, plan: Plan) -> None:
    """Make the runs and move the entry to its next time, both or neither, in the caller's transaction; the first reply
    is the runs'.

    Those of a durable type stand in the ledger already.
    """
    due_at = {run.id: at.timestamp() for run, at in zip(plan.runs, plan.times, strict=True)} | plan.found
    about = {
        "entry": plan.entry.id,
        "next": repr(plan.next.timestamp()),
        "reached": repr(plan.at.timestamp()),
        "runs": [part for run, score in due_at.items() for part in (run, repr(score))],
        "keep": schedule_runs.KEPT,
        "skipped": len(plan.skipped),
        "missed": plan.missed,
        "topic": events.stream_suffix(None, f"schedule:{plan.entry.id}"),
        "event": json.dumps({"entry": plan.entry.id, "times": _texts(plan.skipped), "running": plan.running}),
    }
    arguments = new_jobs.arguments(plan.runs) if plan.sends else []
    pipe.eval(script("schedule").source, 0, json.dumps(about), keys.PREFIX, *arguments)


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
        skipped = {"entry": entry, "running": plan.running, "times": _texts(plan.skipped)}
        log.warning("periodic run skipped: an earlier one is under way", **skipped)
    if plan.missed:
        log.warning("periodic times missed", entry=entry, count=plan.missed)


def _is_running(plan: Plan, times: Sequence[datetime], lead: Leadership) -> bool:
    """Whether a run of the plan, or one that was made earlier, is to end before another may begin."""
    if not plan.running and plan.runs:
        plan.running = plan.runs[0].id
    elif not plan.running:
        own = {run_id(plan.entry.id, at) for at in times}
        others = schedule_runs.under_way(lead.connection, plan.entry.id, plan.at.timestamp(), own)
        plan.running = others[0] if others else ""
    return bool(plan.running)


def _prepared(entry: Entry, run: str, client: Client) -> NewJob | None:
    try:
        return client.prepare(entry.job_type, [{}], options={"job_id": run})[0]
    except Exception:
        log.exception("periodic run refused", entry=entry.id, job_id=run)
        return None


def _texts(times: Sequence[datetime]) -> list[str]:
    return [at.isoformat() for at in times]
