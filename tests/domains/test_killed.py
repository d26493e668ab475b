"""Every durable job type may be killed anywhere: run again until it gets through, it has reached what it should.

A run is killed at each of its effects in turn, which are commits, and files that are put in place or removed: the first
run before the first of them, the next one before its second, and so on, until one has fewer effects than that.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from jobs.adapters.database import rows
from jobs.adapters.database.models import DOCUMENTS, Document
from tests.domains.conftest import World
from tests.domains.test_twice import SAMPLES, durable, ingested, state_of

MOST_EFFECTS = 200
Reached = Callable[[World], bool]


def all_are_ingested(world: World) -> bool:
    with world.database.read() as session:
        documents = rows.several(session, Document, select(DOCUMENTS))
    return all(each.status == "completed" and len(world.texts(each)) == 2 for each in documents)


def one_is_left(world: World) -> bool:
    with world.database.read() as session:
        return len(rows.several(session, Document, select(DOCUMENTS))) == 1


def all_have_one_model(world: World) -> bool:
    with world.database.read() as session:
        return len(set(session.scalars(select(DOCUMENTS.c.embedding_model)))) == 1


def what_changed_is_queued(world: World) -> bool:
    with world.database.read() as session:
        names = sorted(session.scalars(select(DOCUMENTS.c.name).where(DOCUMENTS.c.source_id.is_not(None))))
    queued = sorted(job.type for job in world.queued())
    return names == ["gone.md", "one.md", "two.md"] and queued == [
        "documents.delete",
        "documents.ingest",
        "documents.ingest",
    ]


REACHED: dict[str, Reached] = {
    "documents.ingest": all_are_ingested,
    "documents.delete": one_is_left,
    "documents.reembed": all_have_one_model,
    "documents.sync": what_changed_is_queued,
}


@pytest.mark.parametrize("name", sorted({*durable(), *SAMPLES}))
def test_a_durable_job_that_is_killed_again_and_again_ends_well(world: World, name: str) -> None:
    assert name in REACHED, f"{name} is durable, so it may be killed: say in {__file__} what it has to reach"
    payload, bystander = SAMPLES[name](world), ingested(world)
    kills = 0
    while kills < MOST_EFFECTS and is_killed(partial(run, world, name, payload, kills), kills):
        kills += 1
    assert kills > 1, "it was killed at no effect but the first"
    after_kills = state_of(world)
    assert REACHED[name](world)
    run(world, name, payload, kills + 1)
    assert state_of(world) == after_kills
    assert world.row(bystander) is not None and world.texts(bystander)


def run(world: World, name: str, payload: dict[str, Any], number: int) -> None:
    world.run(name, payload, job_id="the-job", execution_id=f"run-{number}")


def is_killed(work: Callable[[], None], effects: int) -> bool:
    """Do it in a process that is killed before the effect after so many; False when it came to its end."""
    child = os.fork()
    if child == 0:
        _die_after(effects)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed; see what it printed"
    return os.WIFSIGNALED(status)


def _die_after(effects: int) -> None:
    left = effects

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", count)
    sys.addaudithook(lambda name, _: count() if name in ("os.rename", "os.remove") else None)
