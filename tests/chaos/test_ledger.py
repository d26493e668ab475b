"""The ledger under random faults: whoever is killed or stopped, and whatever becomes of Redis, each job is done."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import select

from jobs.adapters.database import connect as connect_database
from jobs.adapters.database import migrate
from jobs.engine import Fleet
from jobs.engine.ledger.table import JOBS
from jobs.settings import Settings
from tests.chaos import journal
from tests.conftest import RedisServer, wait_until
from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

Spawn = Callable[..., subprocess.Popen[bytes]]
ROLES = ("writer", "keeper", "worker")
FAULTS = ("kill", "kill", "stop", "wipe", "restart", "hang")
DRAINED_WITHIN = 120.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that forgets everything when it is killed."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    if server.process is not None:
        server.process.send_signal(signal.SIGCONT)
    server.stop(signal.SIGKILL)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.slow])])
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    own = {"JOB_MODULES": "tests.chaos.durable", "LEASE": "2", "FOREIGN_JOBS": "", "WORKER_CONCURRENCY": "2"}
    if request.param == "postgresql":
        return environ | own | {"DATABASE_URL": request.getfixturevalue("postgres_url")}
    settings = Settings.from_env(environ)
    migrate(settings)
    connect_database(settings).close()
    return environ | own


class Scene:
    """The processes of a small fleet, what is done to them, and which rows were seen ended when."""

    def __init__(self, fleet: Fleet, server: RedisServer, spawn: Spawn, folder: Path, seed: int) -> None:
        self.fleet, self.server, self._spawn, self._folder = fleet, server, spawn, folder
        self.rng = random.Random(seed)
        self.log, self.journal = folder / "written", folder / "journal"
        self.done: Counter[str] = Counter()
        self.ended: dict[str, float] = {}
        self._over = threading.Event()
        self.processes = {role: self._start(role) for role in ROLES}

    def written(self, word: str) -> set[str]:
        """The ids of which the writers say that (C: committed, R: rolled back)."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return {line[2:] for line in lines if line.startswith(word)}

    def rows(self) -> dict[str, Any]:
        """The ledger, by id."""
        query = select(JOBS.c.id, JOBS.c.state, JOBS.c.ended_at)
        with self.fleet.database.read() as session:
            return {row["id"]: row for row in session.execute(query).mappings()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note meanwhile when rows are seen to have ended; each is written before the time that is noted."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        yield
        self._over.set()
        watcher.join()

    def fault(self) -> None:
        """Do harm to something, chosen at random."""
        kind, role = self.rng.choice(FAULTS), self.rng.choice(ROLES)
        if kind == "kill":
            self.processes[role].kill()
            self.processes[role].wait()
            self.processes[role] = self._start(role)
        elif kind == "stop":
            self._stop(self.processes[role].pid)
        elif kind == "wipe":
            redis.Redis(port=self.server.port).flushall()
        elif kind == "restart":
            self.server.stop(signal.SIGKILL)
            time.sleep(self.rng.uniform(0.0, 1.0))
            self.server.start()
        elif self.server.process is not None:
            self._stop(self.server.process.pid)
        self.done[f"{kind} {role}" if kind in ("kill", "stop") else f"redis: {kind}"] += 1

    def settle(self) -> None:
        """Write no more, and wait until all rows have ended."""
        self.processes["writer"].terminate()
        assert self.processes["writer"].wait(60) in (0, -signal.SIGTERM), "it may have begun a moment ago"
        wait_until(lambda: all(row["ended_at"] for row in self.rows().values()), DRAINED_WITHIN, every=0.2)

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            found = [job_id for job_id, row in self.rows().items() if row["ended_at"] and job_id not in self.ended]
            self.ended |= dict.fromkeys(found, time.monotonic())

    def _stop(self, pid: int) -> None:
        process = subprocess.Popen(["kill", "-STOP", str(pid)])
        process.wait()
        time.sleep(self.rng.uniform(0.3, 2.5))
        subprocess.run(["kill", "-CONT", str(pid)], check=True)

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        if role == "writer":
            seed = str(self.rng.getrandbits(32))
            return self._spawn("-m", "tests.chaos.writer", str(self.log), str(self.journal), seed, "15")
        return self._spawn("worker.py", *(["--scheduler"] if role == "keeper" else []))


@pytest.fixture
def scene(
    fleet: Fleet,
    server: RedisServer,
    spawn: Spawn,
    tmp_path: Path,
    seed: int,
    record_property: Callable[[str, object], None],
) -> Scene:
    record_property("chaos", f"seed {seed}")
    return Scene(fleet, server, spawn, tmp_path, seed)


@pytest.mark.parametrize("faults", [8, pytest.param(80, marks=pytest.mark.slow)])
def test_random_faults_lose_no_durable_job_and_repeat_none_whose_row_had_ended(
    scene: Scene, faults: int, seed: int, record_property: Callable[[str, object], None]
) -> None:
    with scene.watched():
        wait_until(lambda: scene.ended)
        for _ in range(faults):
            scene.fault()
            time.sleep(scene.rng.uniform(0.0, 0.7))
        scene.settle()
    rows, runs = scene.rows(), journal.read(scene.journal)
    told = ", ".join(f"{count} x {kind}" for kind, count in sorted(scene.done.items()))
    record_property("chaos", f"seed {seed}; {len(rows)} jobs; {len(runs)} runs; {told}")
    assert {row["state"] for row in rows.values()} == {"finished"}
    assert scene.written("C") <= set(rows), "committed, and never happened"
    assert not scene.written("R") & set(rows), "rolled back, and there all the same"
    assert {run.id for run in runs} <= set(rows), "ran, and was never committed"
    assert {run.id for run in runs if run.how == "done"} == set(rows)
    again = [run for run in runs if run.began > scene.ended.get(run.id, run.began)]
    assert not again, "ran again after its row had ended"
