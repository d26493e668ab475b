"""Running dead letters again and throwing them away."""

from __future__ import annotations

from collections.abc import Callable

from jobs.engine import Fleet
from jobs.engine.audit_log import Actor
from jobs.engine.dead_letters import Done, Letter, where_of
from webapp.actions.many import recorded

AT_ONCE = 1_000
"""Letters that one request runs again or discards; its answer says how to go on."""


def retry_one(fleet: Fleet, by: Actor, job_id: str) -> Letter:
    """Run one again; the letter as it was. Raises as `DeadLetters.retry_one` does."""
    letter = fleet.dead_letters.retry_one(job_id, by=by.subject, tenant=by.tenant)
    _record_one(fleet, by, "dead_letter.retry", letter, {"status": "queued"})
    return letter


def discard_one(fleet: Fleet, by: Actor, job_id: str) -> Letter:
    """Throw one away; the letter as it was. Raises as `DeadLetters.discard_one` does."""
    letter = fleet.dead_letters.discard_one(job_id, by=by.subject, tenant=by.tenant)
    _record_one(fleet, by, "dead_letter.discard", letter, {"status": "gone"})
    return letter


def retry(fleet: Fleet, by: Actor, bound: str, *, most: int = AT_ONCE, cursor: str | None = None) -> Done:
    """Run again what a dry run found. Raises as `DeadLetters.retry` does."""
    return _many(fleet, by, "dead_letter.retry", fleet.dead_letters.retry, bound, most, cursor)


def discard(fleet: Fleet, by: Actor, bound: str, *, most: int = AT_ONCE, cursor: str | None = None) -> Done:
    """Throw away what a dry run found. Raises as `DeadLetters.discard` does."""
    return _many(fleet, by, "dead_letter.discard", fleet.dead_letters.discard, bound, most, cursor)


def _many(
    fleet: Fleet, by: Actor, action: str, act: Callable[..., Done], bound: str, most: int, cursor: str | None
) -> Done:
    def do(done: Done) -> Done:
        return act(bound, by=by.subject, most=most, cursor=cursor, tenant=by.tenant, done=done)

    return recorded(fleet, by, action, "dead letters", where_of(bound), do)


def _record_one(fleet: Fleet, by: Actor, action: str, letter: Letter, after: dict[str, str]) -> None:
    before = {"status": "quarantined" if letter.state == "quarantined" else "failed", "type": letter.type}
    before |= {"error": letter.text}
    fleet.audit.record(action=action, target=letter.id, by=by, before=before, after=after, tenant=letter.tenant or None)
