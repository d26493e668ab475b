"""Letters without a worker in between: jobs that a test leases and lets fail itself."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.engine import Fleet, JobView
from jobs.engine.dead_letters import Where
from jobs.engine.outcome import Outcome, of_error
from jobs.engine.policy import Retry
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of, settle

SPENT = Retry(max_retries=0)


def failure(text: str = "out of paper") -> Outcome:
    """How a run ends whose retries are used up."""
    try:
        raise LookupError(text)
    except LookupError as error:
        return of_error(error, SPENT, 1)


def let_die(fleet: Fleet, jobs: Sequence[JobView], *outcomes: Outcome, worker: str = "w1") -> None:
    """Lease these jobs, which wait in one queue, and let each fail; the outcomes in turn."""
    outcomes = outcomes or (failure(),)
    queue = jobs[0].queue
    leases = leases_of(fleet, worker, queue)
    for at in range(0, len(jobs), 100):
        runs = lease(leases, len(jobs[at : at + 100]))
        assert len(runs) == len(jobs[at : at + 100])
        ended = [(run, outcomes[(at + n) % len(outcomes)]) for n, run in enumerate(runs)]
        assert set(settle(leases, *ended)) == {"ok"}


def ids(fleet: Fleet, where: Where | None = None, limit: int = 50) -> list[str]:
    """All letters' ids, page after page."""
    found: list[str] = []
    cursor = None
    while True:
        page = fleet.dead_letters.find(where or Where(), limit=limit, cursor=cursor)
        found += [letter.id for letter in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


def until_dead(fleet: Fleet, count: int, where: Where | None = None) -> list[str]:
    """Wait until there are so many letters."""
    return wait_until(lambda: found if len(found := ids(fleet, where)) >= count else None)
