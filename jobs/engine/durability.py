"""What somebody wants of durable jobs stands in their rows before Redis is told: what forgets loses no wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobs.engine import keys, registry
from jobs.engine.broker import translate_errors
from jobs.engine.errors import UnknownJob

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

Named = tuple[str, str]
"""A job's id and type."""
_COUNTS = ("cancelled", "canceled", "asked", "missing")
"""What Redis says of a job whose cancel counts: it has ended, is to end, or must not come back."""


def is_durable(job_type: str) -> bool:
    """Whether the ledger has the jobs of that type, or (one that this release does not know) may have them."""
    try:
        return registry.get(job_type).durable
    except UnknownJob:
        return registry.any_durable()


def cancel(fleet: Fleet, jobs: Sequence[Named], ask: Callable[[], list[str]]) -> list[str]:
    """Around what has Redis cancel jobs: its word about each. What it refuses leaves no note behind.

    No database is needed, since what runs has to be stopped without it too. Raises BrokerUnavailable.
    """
    durable = set(_durable(fleet, jobs))
    if not durable:
        return ask()
    from jobs.engine.ledger import wishes

    noted_at, words = wishes.note_cancel(fleet, durable), ask()
    refused = {job_id for (job_id, _), word in zip(jobs, words, strict=True) if word not in _COUNTS}
    wishes.forget_cancel(fleet, refused & durable, noted_at)
    return words


def run_again(fleet: Fleet, jobs: Sequence[Named], ask: Callable[[], list[str]]) -> list[str]:
    """Around what has Redis run jobs again: its word about each, `again` too where only the ledger knew of a job.

    Raises BrokerUnavailable, also while the database is away; then Redis was not asked.
    """
    durable = set(_durable(fleet, jobs))
    if not durable:
        return ask()
    from jobs.engine.ledger import reopening, wishes

    opened, words = wishes.open_again(fleet, durable), ask()
    for at, (job_id, _) in enumerate(jobs):
        if words[at] == "missing" and job_id in durable and reopening.reopen(fleet, job_id, is_open=job_id in opened):
            words[at] = "again"
    refused = {job_id for (job_id, _), word in zip(jobs, words, strict=True) if word != "again"}
    wishes.tell_again(fleet, refused & opened)
    return words


def _durable(fleet: Fleet, jobs: Sequence[Named]) -> list[str]:
    """Those that the ledger has or may have; plain RQ jobs and what Redis says are not durable need no database."""
    certain = [job_id for job_id, job_type in jobs if registry.is_known(job_type) and is_durable(job_type)]
    unknown = [job_id for job_id, job_type in jobs if not registry.is_known(job_type)]
    if not unknown or not registry.any_durable():
        return certain
    with translate_errors(), fleet.redis.pipeline(transaction=False) as pipe:
        for job_id in unknown:
            pipe.hmget(keys.job(job_id), "status", "ledger")
        told = pipe.execute(raise_on_error=False)
    return certain + [job_id for job_id, found in zip(unknown, told, strict=True) if not _is_plain(found)]


def _is_plain(found: Any) -> bool:
    """Whether Redis has the job and it has no row; it was asked for status and row."""
    return isinstance(found, list) and found[0] is not None and found[1] is None
