"""A real gunicorn with two processes and a real worker, while Redis is killed, stopped, and there again."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from jobs.engine import database as databases
from jobs.engine.ledger.table import JOBS
from jobs.settings import Settings
from tests.conftest import ROOT, RedisServer, free_port, wait_until
from tests.webapp.gunicorn_server import Server

Header = dict[str, str]
Spawn = Callable[..., subprocess.Popen[bytes]]
TYPE = {"Content-Type": "multipart/form-data; boundary=frontier"}
BODY = (
    b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="%d.txt"\r\n\r\n'
    b"The river number %d flows north.\r\n--frontier--\r\n"
)


@pytest.fixture
def environ(environ: Header, lasting_redis: RedisServer) -> Header:
    return environ | {"REDIS_URL": lasting_redis.url, "WORKER_CONCURRENCY": "2"}


@pytest.fixture
def start(tables: None, spawn: Spawn) -> Iterator[Callable[..., Server]]:
    """Start gunicorn with two processes."""
    servers: list[Server] = []

    def begin(**extra: str) -> Server:
        port = free_port()
        command = ["-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn.conf.py"), "webapp:create_app()"]
        server = Server(spawn(*command, PORT=str(port), WEB_CONCURRENCY="2", **extra), port)
        servers.append(server)
        wait_until(server.up)
        return server

    yield begin
    for server in servers:
        server.process.terminate()
        server.process.wait(60)


class Client:
    """Somebody who uploads and looks."""

    def __init__(self, server: Server, headers: Header) -> None:
        self.server, self.headers = server, headers
        self.jobs: list[str] = []
        body = json.dumps({"slug": "papers", "name": "Papers"})
        answer = server.ask("POST", "/api/workspaces", body, headers | {"Content-Type": "application/json"})
        assert answer[0] == 201

    def upload(self) -> dict[str, Any]:
        """What is said of a new file; it is accepted whatever Redis does."""
        number = len(self.jobs)
        path = "/api/workspace/papers/upload"
        status, _, body = self.server.ask("POST", path, BODY % (number, number), self.headers | TYPE)
        assert status == 202, body
        [file] = json.loads(body)["documents"]
        self.jobs.append(file["job_id"])
        return dict(file)

    def get(self, path: str) -> tuple[int, Any, Any]:
        status, headers, body = self.server.ask("GET", path, headers=self.headers)
        return status, headers, json.loads(body)

    def documents(self) -> set[str]:
        """The states of all documents."""
        return {each["status"] for each in self.get("/api/workspace/papers/documents?limit=200")[2]["items"]}


def rows(settings: Settings) -> list[Any]:
    """The ledger, in the order in which it was written."""
    database = databases.connect(settings)
    with database.read() as session:
        return list(session.execute(select(JOBS).order_by(JOBS.c.number)).mappings())


def each_done_once(client: Client, settings: Settings) -> bool:
    """Whether every accepted file was ingested, by one run."""
    found = {row["id"]: row for row in rows(settings) if row["id"] in set(client.jobs)}
    return len(found) == len(client.jobs) and all(
        (row["state"], row["attempts"]) == ("finished", 1) for row in found.values()
    )


def unready(client: Client) -> None:
    """What needs Redis says that it is away, and when to come again."""
    for path in (f"/api/jobs/{client.jobs[0]}/log", f"/api/jobs/{client.jobs[0]}/events"):
        status, headers, problem = client.get(path)
        assert (status, headers["Content-Type"], problem["status"]) == (503, "application/problem+json", 503)
        assert int(headers["Retry-After"]) >= 1
    status, _, ready = client.get("/readyz")
    assert (status, ready["checks"]["redis"] == "ok", ready["checks"]["database"]) == (503, False, "ok")
    assert client.server.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_uploads_go_on_while_redis_is_away_and_are_done_once_when_it_is_back(
    start: Callable[..., Server],
    spawn_worker: Spawn,
    us: Header,
    lasting_redis: RedisServer,
    settings: Settings,
    how: int,
) -> None:
    client = Client(start(), us)
    spawn_worker()
    wait_until(lambda: client.upload()["queued"] == "redis")
    assert lasting_redis.process is not None
    if how == signal.SIGKILL:
        lasting_redis.stop(signal.SIGKILL)
    else:
        lasting_redis.process.send_signal(how)
    try:
        assert {client.upload()["queued"] for _ in range(8)} == {"ledger"}
        waiting = client.get(f"/api/jobs/{client.jobs[-1]}")[2]
        assert (waiting["status"], waiting["queued"]) == ("queued", "ledger")
        unready(client)
    finally:
        if how == signal.SIGKILL:
            lasting_redis.start()
        else:
            lasting_redis.process.send_signal(signal.SIGCONT)
    wait_until(lambda: client.get("/readyz")[0] == 200)
    wait_until(lambda: client.upload()["queued"] == "redis")
    wait_until(lambda: client.documents() == {"completed"}, timeout=60)
    wait_until(lambda: each_done_once(client, settings))


def test_with_the_fallback_uploads_are_processed_while_redis_is_away(
    start: Callable[..., Server], us: Header, lasting_redis: RedisServer, settings: Settings
) -> None:
    client = Client(start(LOCAL_FALLBACK="true"), us)
    lasting_redis.stop(signal.SIGKILL)
    try:
        for _ in range(4):
            client.upload()
        wait_until(lambda: client.documents() == {"completed"}, timeout=90)
        jobs = [client.get(f"/api/jobs/{job_id}?wait=20")[2] for job_id in client.jobs]
        assert {(job["status"], job["queued"], job["attempts"]) for job in jobs} == {("completed", "local", 1)}
        assert all(job["result"]["passages"] == 1 for job in jobs)
        found = client.get("/api/workspace/papers/search?q=river")[2]
        assert len(found["hits"]) == 4
    finally:
        lasting_redis.start()
    wait_until(lambda: client.get("/readyz")[0] == 200)
    wait_until(lambda: client.upload()["queued"] == "redis")
    assert client.get(f"/api/jobs/{client.jobs[0]}")[2]["status"] == "completed"
