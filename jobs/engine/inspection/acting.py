"""Doing one thing to many jobs: what Redis has in one round trip, by scripts that look at each job first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobs.engine import durability, views
from jobs.engine.broker import translate_errors
from jobs.engine.changes import Change
from jobs.engine.control import SEEN, policy_of
from jobs.engine.dead_letters.actions import Done, reason_of
from jobs.engine.errors import Conflict, NotFound, UnknownJob
from jobs.engine.inspection import steering
from jobs.engine.inspection.live import Live
from jobs.engine.keys import PREFIX
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

GOOD = frozenset({"again", "cancelled", "asked", "gone", "promoted"})
BECOMES = {"retry": "queued", "cancel": "cancelled", "discard": "gone", "promote": "queued"}
STOPPING = {"asked": "stopping"}


def act(fleet: Fleet, verb: str, jobs: Sequence[Live], by: str, done: Done) -> None:
    """Retry, cancel, discard or promote each, and note what became of it. Raises BrokerUnavailable."""
    jobs = list({each.id: each for each in jobs}.values())  # a list may have an entry that a promotion left behind
    done.begin(Change(each.id, each.tenant, each.state, BECOMES[verb]) for each in jobs)
    here = [each for each in jobs if each.word]
    words = dict(zip((each.id for each in here), _asked(fleet, verb, here, by) if here else (), strict=True))
    for job_id, word in words.items():
        done.end(job_id, "" if word in GOOD else reason_of(word), STOPPING.get(word, ""))
    for job_id in [each.id for each in jobs if not each.word]:
        done.end(job_id, _one_by_one(fleet, verb, job_id, by))


def _asked(fleet: Fleet, verb: str, jobs: Sequence[Live], by: str) -> list[str]:
    durable, named = [each.id for each in jobs if each.durable], [(each.id, each.job_type) for each in jobs]
    if verb == "promote" and durable:
        steering.let_be_due(fleet, durable)
    recorded = steering.recorded_of(fleet, durable) if verb == "discard" else set()
    now, windows = views.rfc3339(datetime.now(UTC)), " ".join(fleet.windows.values())
    calls = [(PREFIX, each.id, *_said(fleet, verb, each, now, by, windows, each.id in recorded)) for each in jobs]

    def ask() -> list[str]:
        with translate_errors():
            return [word.decode() for word in script(verb).many(fleet.redis, calls)]

    around = {"retry": durability.run_again, "cancel": durability.cancel}.get(verb)
    return around(fleet, named, ask) if around is not None else ask()


def _said(fleet: Fleet, verb: str, job: Live, now: str, by: str, windows: str, is_recorded: bool) -> tuple[Any, ...]:
    """What the script of that name is told besides the id."""
    policy = policy_of(fleet, job.job_type)
    if verb == "retry":
        return now, policy.retry.max_retries, job.settled, by
    if verb == "cancel":
        return now, int(max(SEEN, policy.retention.finished).total_seconds()), windows, job.word
    if verb == "promote":
        return now, "", job.word
    return job.settled, "1", "1" if is_recorded else ""


def _one_by_one(fleet: Fleet, verb: str, job_id: str, by: str) -> str:
    """Nothing when it is done; else why not."""
    try:
        if verb == "retry":
            fleet.jobs.retry(job_id, by=by)
        elif verb == "cancel":
            fleet.jobs.cancel(job_id)
        elif verb == "discard":
            fleet.inspection.discard(job_id, by=by)
        else:
            fleet.inspection.promote(job_id, front=False)
    except (Conflict, NotFound, UnknownJob) as error:
        return str(error)
    return ""
