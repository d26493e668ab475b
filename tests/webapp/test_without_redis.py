"""A real gunicorn with two processes, a database, and no Redis: uploads are processed, watched and searched."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from jobs.engine import database as databases
from jobs.engine.ledger.table import JOBS
from jobs.settings import Settings
from tests.conftest import ROOT, free_port, wait_until
from tests.webapp.gunicorn_server import Server
from tests.webapp.live_server import GUARD, sse

Header = dict[str, str]
Spawn = Callable[..., subprocess.Popen[bytes]]
TYPE = {"Content-Type": "multipart/form-data; boundary=frontier"}
PART = b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
POSTGRES = pytest.param("postgresql, without redis", marks=[pytest.mark.postgres, pytest.mark.slow])
pytestmark = pytest.mark.parametrize("environ", ["sqlite, without redis", POSTGRES], indirect=True)
PASSWORD = "a password for the tests"
ENDED = ("completed", "failed", "cancelled")


@pytest.fixture
def server(tables: None, spawn: Spawn) -> Iterator[Server]:
    port = free_port()
    command = ["-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn.conf.py"), "webapp:create_app()"]
    hashed = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    extra = {"PORT": str(port), "WEB_CONCURRENCY": "2", "LEASE": "3", "ADMIN_PASSWORD_HASH": hashed}
    running = Server(spawn(*command, **extra), port)
    wait_until(running.up)
    yield running
    running.process.terminate()
    running.process.wait(60)


class Client:
    """Somebody with a token and a workspace."""

    def __init__(self, server: Server, headers: Header) -> None:
        self.server, self.headers = server, headers
        self.post("/api/workspaces", json.dumps({"slug": "papers", "name": "Papers"}), 201)

    def post(self, path: str, body: Any = "", expected: int = 202, kind: str = "application/json") -> Any:
        status, _, answer = self.server.ask("POST", path, body, self.headers | {"Content-Type": kind})
        assert status == expected, answer
        return json.loads(answer)

    def get(self, path: str) -> Any:
        return json.loads(self.server.ask("GET", path, headers=self.headers)[2])

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once nothing more will happen to it."""
        path = f"/api/jobs/{job_id}?wait=20"
        found: dict[str, Any] = wait_until(lambda: job if (job := self.get(path))["status"] in ENDED else None)
        return found

    def upload(self, *contents: bytes) -> list[dict[str, Any]]:
        """Upload files; what is said of each."""
        body = b"".join(PART % (b"%d.txt" % number, content) for number, content in enumerate(contents))
        path = "/api/workspace/papers/upload"
        found: list[dict[str, Any]] = self.post(path, body + b"--frontier--\r\n", kind=TYPE["Content-Type"])[
            "documents"
        ]
        return found

    def events(self, path: str) -> list[dict[str, Any]]:
        """A stream of events, to its end."""
        url = f"http://127.0.0.1:{self.server.port}{path}"
        with httpx2.stream("GET", url, headers=self.headers, timeout=GUARD) as answer:
            assert answer.status_code == 200
            return list(sse(answer.iter_lines()))


def test_an_upload_is_processed_watched_and_searched(server: Server, us: Header, settings: Settings) -> None:
    client = Client(server, us)
    [file] = client.upload(b"The river Lena flows north.")
    assert (file["status"], file["queued"]) == ("queued", "local")
    told = client.events(f"/api/jobs/{file['job_id']}/events")
    names = [event["event"] for event in told]
    assert (names[:2], names[-1]) == (["job:queued", "job:started"], "job:completed")
    again = client.events(f"/api/jobs/{file['job_id']}/events?after={told[1]['id']}")
    assert [event["id"] for event in again] == [event["id"] for event in told[2:]]
    job = client.ended(file["job_id"])
    assert (job["status"], job["attempts"], job["progress"]["percent"]) == ("completed", 1, 100)
    assert client.get("/api/workspace/papers/search?q=river")["hits"][0]["document_name"] == "0.txt"
    assert [each["id"] for each in client.get("/api/jobs?type=documents.ingest")["items"]] == [job["id"]]
    database = databases.connect(settings)
    with database.read() as session:
        [row] = session.execute(select(JOBS).where(JOBS.c.id == job["id"])).mappings()
    assert (row["step"], row["state"], row["attempts"]) == ("local", "finished", 1)
    health = client.get("/api/health")
    assert (health["status"], health["jobQueue"]) == ("ok", {"enabled": False, "redis": False})
    assert client.get("/readyz")["checks"].keys() == {
        *("database", "storage", "workers", "schedulers", "breakers"),
    }
    wait_until(lambda: "fleet_workers 2.0" in server.ask("GET", "/metrics")[2].decode())


def test_a_failed_job_is_told_and_run_again(server: Server, us: Header) -> None:
    client = Client(server, us)
    [file] = client.upload(bytes(range(256)) * 20)
    failed = client.ended(file["job_id"])
    assert failed["status"] == "failed" and failed["error"]["message"]
    assert client.post(f"/api/jobs/{file['job_id']}/retry")["status"] in ("queued", "started")
    assert client.ended(file["job_id"])["status"] == "failed"
    assert client.get(f"/api/jobs/{file['job_id']}/log").keys() == {"items"}
    [document] = client.get("/api/workspace/papers/documents")["items"]
    assert document["status"] == "failed" and document["error"]


def test_a_killed_gunicorn_process_leaves_its_jobs_to_the_other(server: Server, us: Header, settings: Settings) -> None:
    client = Client(server, us)
    text = b"A sentence about the river Ob and its many fish. " * 8_000
    files = client.upload(*(b"%d " % number + text for number in range(6)))
    victim = wait_until(lambda: busy_process(settings))
    family = psutil.Process(victim).children(recursive=True)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family))
    wait_until(lambda: {each["status"] for each in documents(client)} == {"completed"}, timeout=120)
    for file in files:
        assert client.ended(file["job_id"])["status"] == "completed"
        names = [event["event"] for event in client.events(f"/api/jobs/{file['job_id']}/events")]
        assert names.count("job:completed") == 1
        assert names.count("job:started") <= 2


def documents(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/workspace/papers/documents")["items"]
    return found


def busy_process(settings: Settings) -> int | None:
    """A gunicorn process that runs a job now."""
    database = databases.connect(settings)
    with database.read() as session:
        running = select(JOBS.c.worker).where(JOBS.c.state == "started", JOBS.c.worker != "")
        workers = session.execute(running).scalars().all()
    return int(workers[0].split("-")[-2]) if workers else None


def test_the_operators_page_says_that_there_is_no_redis(server: Server) -> None:
    url = f"http://127.0.0.1:{server.port}"
    with httpx2.Client(base_url=url, follow_redirects=True, timeout=GUARD) as browser:
        assert browser.get("/admin/rq/", headers={"Accept": "application/json"}).status_code == 401
        form = browser.get("/admin/rq/", headers={"Accept": "text/html"}).text
        [token] = re.findall(r'name="csrf_token" value="([^"]+)"', form)
        page = browser.post("/admin/login", data={"username": "admin", "password": PASSWORD, "csrf_token": token})
        assert page.status_code == 200
        assert "There is no Redis" in browser.get("/admin/rq/").text
        assert browser.get("/admin/dead-letters").status_code in (404, 501)


def test_it_stops_at_once_when_nothing_runs(server: Server, tmp_path: Path) -> None:
    family = psutil.Process(server.process.pid).children(recursive=True)
    server.process.terminate()
    assert server.process.wait(20) == 0
    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family))
