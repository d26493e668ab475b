"""Documents through a real worker: many at once, hostile ones among them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.adapters.database.models import Document
from jobs.domains.documents import service
from tests.conftest import wait_until
from tests.domains.conftest import World
from tests.hostile import HOSTILE, Hostile

Spawn = Callable[..., subprocess.Popen[bytes]]
ENDED = ("completed", "failed")
pytestmark = pytest.mark.redis


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


def test_hostile_files_end_in_an_error_each_and_stop_nothing_else(world: World, spawn: Spawn, tmp_path: Path) -> None:
    added = [(hostile, world.add(hostile.name, hostile.write(tmp_path).read_bytes())) for hostile in HOSTILE]
    honest = [world.add(f"honest {n}.md") for n in range(10)]
    documents = [document for _, document in added] + honest
    for document in documents:
        service.enqueue(document)
    spawn("worker.py")
    wait_until(lambda: all(world.row(document).status in ENDED for document in documents), timeout=120)
    assert [problem for hostile, document in added if (problem := unexpected(world, hostile, document))] == []
    assert {world.row(document).status for document in honest} == {"completed"}
    assert len(world.found("Siberia")) == len(honest)
    wait_until(lambda: all(world.fleet.jobs.get(document.job_id).ended for document in documents))
    attempts = {world.fleet.jobs.get(document.job_id).attempts for document in documents}
    assert attempts == {1}


def unexpected(world: World, hostile: Hostile, document: Document) -> str | None:
    row = world.row(document)
    wanted = "failed" if hostile.error else "completed"
    if row.status != wanted or (hostile.error and not re.search(hostile.error, row.error or "")):
        return f"{hostile.title}: {row.status} {row.error}"
    return None
