"""`python worker.py --check` and `bin/run --verify`: each part that is wrong is named, with what to do about it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from rq import Queue

from jobs import checkup
from jobs.adapters import database
from jobs.checkup import Finding
from jobs.engine import Fleet, keys
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, free_port
from tests.engine.samples import jobs as samples
from tests.webapp.live_server import serving
from webapp import create_app


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    database.migrate(Settings.from_env(environ))
    return environ


@pytest.fixture
def other_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """One that may be spoiled."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()


def check(environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
    command = command or ("worker.py", "--check")
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)


def found(environ: dict[str, str], part: str, **changes: str) -> list[Finding]:
    """What is not as it should be with a part, but for how far away a busy machine finds it."""
    findings = checkup.examine(Settings.from_env({**environ, **changes}))
    return [each for each in findings if each.part == part and each.level != "ok" and "far away" not in each.text]


def test_a_set_up_that_works_is_told_to(environ: dict[str, str], fleet: Fleet) -> None:
    done = check(environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "All is well." in done.stdout
    for part in ("Redis", "database", "storage", "job types", "system"):
        assert f"ok       {part}: " in done.stdout
    assert "no living worker listens to critical, default, low\n         -> Start one: python worker.py" in done.stdout


def test_everything_that_is_wrong_is_told_at_once(environ: dict[str, str], tmp_path: Path) -> None:
    nowhere = {"REDIS_URL": f"redis://:hidden@127.0.0.1:{free_port()}/0", "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    (tmp_path / "file").touch()
    done = check({**environ, **nowhere, "STORAGE_URL": f"file://{tmp_path / 'file'}"})
    assert (done.returncode, done.stderr) == (1, "")
    for part in ("Redis", "database", "storage"):
        assert f"problem  {part}: " in done.stdout
    assert "Start it, or let REDIS_URL name one that runs." in done.stdout
    assert "hidden" not in done.stdout


def test_a_redis_that_forgets_or_refuses_is_a_problem(environ: dict[str, str], other_redis: RedisServer) -> None:
    url = {"REDIS_URL": other_redis.url}
    with redis.Redis(port=other_redis.port) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "maxmemory-policy is allkeys-lru" in found(environ, "Redis", **url)[0].text
        client.config_set("maxmemory-policy", "noeviction")
        client.set("filler", "x" * 1_000_000)
        client.config_set("maxmemory", 1_000_000)
        assert [each.level for each in found(environ, "Redis", **url)] == ["problem", "note", "problem"]
        client.config_set("maxmemory", 0)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert "it is a replica" in found(environ, "Redis", **url)[0].text


def test_rights_that_are_missing_are_named(environ: dict[str, str], other_redis: RedisServer) -> None:
    with redis.Redis(port=other_redis.port) as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">words", "~*", "+@all", "-eval")
    (note, problem) = found(environ, "Redis", REDIS_URL=f"redis://few:words@127.0.0.1:{other_redis.port}/0")
    assert (note.level, problem.level) == ("note", "problem")
    assert "refuses commands that the fleet needs" in problem.text
    assert "words" not in problem.text


def test_a_password_that_is_wrong_or_missing_is_named(environ: dict[str, str], other_redis: RedisServer) -> None:
    with redis.Redis(port=other_redis.port) as client:
        client.config_set("requirepass", "the-right-one")
    try:
        for user in ("", ":hidden@"):
            (problem,) = found(environ, "Redis", REDIS_URL=f"redis://{user}127.0.0.1:{other_redis.port}/0")
            assert (problem.level, "the password in REDIS_URL" in problem.advice) == ("problem", True)
            assert "hidden" not in problem.text
    finally:
        with redis.Redis(port=other_redis.port, password="the-right-one") as client:
            client.config_set("requirepass", "")


def test_another_secret_is_noticed_by_the_jobs_that_wait(environ: dict[str, str], fleet: Fleet) -> None:
    samples.double.enqueue_many([{"value": each} for each in range(3)])
    assert found(environ, "signatures") == []
    (problem,) = found(environ, "signatures", SECRET_KEY="another-secret-than-that-of-the-others-1")
    assert problem.level == "problem"
    assert problem.text == "3 of 3 waiting jobs would be refused here: the envelope's signature is wrong"
    assert "the same SECRET_KEY" in problem.advice
    fleet.redis.zadd(keys.QUARANTINE, {"strange": 1})
    (note,) = found(environ, "signatures")
    assert note.text == "1 jobs were set aside unread"


def test_jobs_of_another_serializer_are_not_a_matter_of_secrets(environ: dict[str, str], fleet: Fleet) -> None:
    Queue("default", connection=fleet.redis).enqueue("os.getpid")  # as RQ does by itself: pickle
    (note,) = found(environ, "signatures")
    assert (note.level, note.text) == ("note", "1 of 1 waiting jobs are not RQ's JSON and would be set aside")
    assert "JSONSerializer" in note.advice


def test_a_port_that_is_taken_is_named(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (note,) = [each for each in found(environ, "system", PORT=str(port)) if str(port) in each.text]
    assert "set PORT" in note.advice
    with serving(create_app(Settings.from_env(environ))) as base:
        port = str(urlsplit(base).port)
        assert not [each for each in found(environ, "system", PORT=port) if port in each.text]


def test_a_schema_that_is_missing_or_old_names_the_command(environ: dict[str, str], tmp_path: Path) -> None:
    (absent,) = found(environ, "database", DATABASE_URL=f"sqlite:///{tmp_path / 'absent.db'}")
    assert "python -m jobs.adapters.database migrate" in absent.advice
    assert not (tmp_path / "absent.db").exists()
    with database.Database(environ["DATABASE_URL"]).begin() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    (old,) = found(environ, "database")
    assert (old.level, "its schema is 0000, this release needs " in old.text) == ("problem", True)


@pytest.mark.parametrize(
    ("variable", "value", "level", "text"),
    [
        ("QUEUE_TIMEOUT__DOCUMENTS_INJEST", "60", "note", "names no job type"),
        ("QUEUE_TIMEOUT__DOCUMENTS_INGEST", "soon", "problem", "documents.ingest"),
        ("QUEUE_WEIGHTS", "critical=1", "problem", "the queue default, which workers do not listen to"),
        ("JOB_MODULES", "no_such_module", "problem", "no_such_module"),
        ("JOB_MODULES", "tests.engine.samples", "problem", "have secret fields and can't be enqueued"),
        ("ENCRYPTION_KEYS", "short", "problem", "32 url-safe base64 bytes"),
    ],
)
def test_job_types_that_can_not_work_are_named(
    environ: dict[str, str], variable: str, value: str, level: str, text: str
) -> None:
    first = found(environ, "job types", **{variable: value})[0]
    assert (first.level, text in first.text) == (level, True), first


def test_who_works_and_what_keeps_jobs_waiting_is_told(environ: dict[str, str], fleet: Fleet) -> None:
    seconds, _ = fleet.redis.time()
    fleet.redis.zadd(keys.WORKERS, {"w1": (seconds + 60) * 1000, "dead": 1})
    fleet.redis.hset(f"{keys.FLEET}:worker-queues", mapping={"w1": '["default"]', "dead": '["low", "critical"]'})
    fleet.pauses.pause("lane:audit")
    fleet.breakers.open("chat", "openai", fleet.settings.lease, "ProviderFailed")
    texts = [each.text for each in found(environ, "processes")]
    assert texts[0] == "no living worker listens to critical, low"
    assert texts[2:] == ["lane:audit is paused", "the breaker chat/openai is open: ProviderFailed"]


def test_the_launcher_verifies_what_it_would_start(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    data = str(tmp_path / "var")
    command = [sys.executable, "-m", "deploy.launcher", "--verify", "--data", data]
    env = {**kept, "PYTHONPATH": str(ROOT), "PORT": str(free_port())}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
    assert (done.returncode, "All is well." in done.stdout) == (0, True), done.stdout + done.stderr
    broken = {**env, "STORAGE_URL": "file:///proc/nowhere"}
    done = subprocess.run(command, cwd=ROOT, env=broken, capture_output=True, text=True, timeout=100)
    assert (done.returncode, "problem  storage: " in done.stdout) == (1, True), done.stdout + done.stderr
