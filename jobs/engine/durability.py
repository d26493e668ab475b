"""What somebody wants of durable jobs stands in their rows before Redis is told: what forgets loses no wish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jobs.engine import registry
from jobs.engine.errors import UnknownJob

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

Named = tuple[str, str]
"""A job's id and type."""


def is_durable(job_type: str) -> bool:
    """Whether the ledger has the jobs of that type, or (one that this release does not know) may have them."""
    try:
        return registry.get(job_type).durable
    except UnknownJob:
        return registry.any_durable()


def note_cancel(fleet: Fleet, jobs: Sequence[Named]) -> None:
    """Before Redis is told to cancel jobs: never fails, since what runs has to be stopped without the database too."""
    if durable := [job_id for job_id, job_type in jobs if is_durable(job_type)]:
        from jobs.engine.ledger import wishes

        wishes.note_cancel(fleet, durable)


def run_again(fleet: Fleet, jobs: Sequence[Named], ask: Callable[[], list[str]]) -> list[str]:
    """Around what has Redis run jobs again: its word about each, `again` too where only the ledger knew of a job.

    Raises BrokerUnavailable, also while the database is away; then Redis was not asked.
    """
    durable = {job_id for job_id, job_type in jobs if is_durable(job_type)}
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
