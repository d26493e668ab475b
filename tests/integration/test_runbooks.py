"""The commands of the runbooks do what these say, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.dead_letters import Where
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from jobs.engine.scheduler.aside import set_aside
from tests.conftest import ROOT
from tests.engine.leases import lease, leases_of, settle

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"JOB_MODULES": "tests.engine.samples"}


@pytest.fixture
def dead(fleet: Fleet) -> list[str]:
    """Four letters of one error, the oldest first, and one of another."""
    ids = []
    for error in [OSError(f"disk {number} is full") for number in range(4)] + [ValueError("no such page")]:
        job = fleet.enqueue("mortal.orders", {"folder": ""})
        (run,) = lease(leases_of(fleet))
        settle(leases_of(fleet), (run, of_error(error, Retry(max_retries=0), 1)))
        ids.append(job.id)
    return ids


@pytest.mark.slow
def test_dead_letters(fleet: Fleet, environ: dict[str, str], tmp_path: Path, dead: list[str]) -> None:
    page = (ROOT / "docs/runbooks/dead-letters.md").read_text(encoding="utf-8")
    fingerprint = fleet.dead_letters.get(dead[0]).fingerprint
    env = os.environ | environ | {"FINGERPRINT": fingerprint, "JOB": dead[0], "USER": "ada", "BROKEN": "spoiled"}
    what, one, trial, rest, away, aside, broken, gone = BLOCK.findall(page)
    shown = run(what, env, tmp_path)
    assert f"{fingerprint}       4" in shown and "    5  {'mortal.orders': 5}" in shown
    shown = run(one, env, tmp_path)
    assert shown.count("disk") >= 4 and "OSError: disk 0 is full" in shown
    shown = run(trial, env, tmp_path)
    assert fleet.jobs.get(dead[0]).status == "queued"
    assert "3 letters; nothing is changed yet" in shown
    assert len(fleet.dead_letters.find().items) == 4
    assert "3 done, 0 left" in run(rest, env, tmp_path)
    assert [letter.id for letter in fleet.dead_letters.find().items] == dead[4:]
    assert fleet.redis.hget(f"rq:job:{dead[1]}", "retried_by") == b"ada"
    last = fleet.dead_letters.find(Where(text="page")).items[0]
    assert "1 done, 0 left" in run(away, env | {"FINGERPRINT": last.fingerprint}, tmp_path)
    assert fleet.dead_letters.find().items == []
    assert run(aside, env, tmp_path).strip() == ""
    set_aside(fleet.redis, keys.registry("scheduled", "default"), "spoiled", "it has no hash")
    assert re.search(r"spoiled +scheduled:default +it has no hash", run(broken, env, tmp_path))
    assert "1 discarded" in run(gone, env, tmp_path)
    assert fleet.set_aside.count() == 0


def run(block: str, env: dict[str, str], folder: Path) -> str:
    """What a block prints, run by a shell that stops at the first error."""
    (folder / ".venv").mkdir(exist_ok=True)
    link = folder / ".venv" / "bin"
    if not link.exists():
        link.symlink_to(Path(sys.executable).parent)
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        command, env=env | {"PYTHONPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
