"""Run a periodic job type at once, besides its times; where runs must not overlap, only while none is under way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

from redis.client import Pipeline

from jobs.engine import keys, new_jobs, schedule_runs
from jobs.engine.broker import translate_errors
from jobs.engine.errors import Conflict, NotFound
from jobs.engine.job_types import JobType
from jobs.engine.new_jobs import NewJob
from jobs.engine.schedules import Periodic
from jobs.engine.schedules.periodic import entry_id
from jobs.engine.scripts import script
from jobs.engine.views import JobView

if TYPE_CHECKING:
    from typing import Any

    from jobs.engine.fleet import Fleet

LOCKED = "another job is doing the same already, and has the lock that the run needs"


def run_now(fleet: Fleet, job_type: JobType[Any], schedule: Periodic) -> JobView:
    """Enqueue a run, remembered as one of the entry's; that of a durable type is in the ledger then.

    Raises Conflict where runs must not overlap and one is under way, or another job of the type has the lock that the
    run needs; BrokerUnavailable, and what the ledger raises.
    """
    entry, client = entry_id(job_type.name), fleet.redis
    run = fleet.client.prepare(job_type, [{}], options={"job_id": f"{entry}-now-{uuid4().hex[:12]}"})[0]
    must_be_alone = schedule.overlap == "skip"

    def write(pipe: Pipeline) -> None:
        seconds, microseconds = client.time()
        now = seconds + microseconds / 1e6
        others = schedule_runs.under_way(client, entry, now) if must_be_alone else []
        pipe.multi()
        if others:
            raise Conflict(f"run {others[0]} is under way")
        if not job_type.durable:
            _enqueue(pipe, entry, run)
        elif must_be_alone:
            schedule_runs.begin(pipe, entry, run.id, now)

    with translate_errors():
        client.transaction(write, keys.schedule(entry), keys.schedule_runs(entry))
    if job_type.durable:
        return _accept(fleet, job_type, entry, run, must_be_alone)
    try:
        return fleet.jobs.get(run.id)
    except NotFound:
        with translate_errors():
            client.zrem(keys.schedule_runs(entry), run.id)
        raise Conflict(LOCKED) from None


def _enqueue(pipe: Pipeline, entry: str, run: NewJob) -> None:
    about = {"entry": entry, "runs": [run.id, repr(run.at.timestamp())], "keep": schedule_runs.KEPT}
    pipe.eval(script("schedule").source, 0, json.dumps(about), keys.PREFIX, *new_jobs.arguments([run]))


def _accept(fleet: Fleet, job_type: JobType[Any], entry: str, run: NewJob, must_be_alone: bool) -> JobView:
    """Write the row, unless the ledger has a run that its maker could not remember any more."""
    from jobs.engine import schedule_rows

    with translate_errors():
        others = schedule_rows.under_way(fleet, entry, job_type.name) if must_be_alone else []
    if others:
        raise Conflict(f"run {others[0]} is under way")
    view = fleet.ledger.accept([run])[0]
    with translate_errors():
        schedule_runs.remember(fleet.redis, entry, {run.id: run.at.timestamp()})
    return view
