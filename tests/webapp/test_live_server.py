"""The web server as it is deployed: hundreds of sockets in one process, and an end that does not wait for them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from apiflask import APIFlask

from jobs.settings import Settings
from tests.conftest import free_port, wait_until
from tests.webapp.live_server import Socket, get, wait_for_connections
from webapp.auth import SCOPES, make_token
from webapp.live.sockets import GOING_AWAY

MANY = 300


@dataclass(frozen=True)
class Web:
    base: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def web(app: APIFlask, spawn: Callable[..., subprocess.Popen[bytes]]) -> Iterator[Web]:
    port = str(free_port())
    server = spawn(
        "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()", PORT=port, WEB_CONCURRENCY="1"
    )
    base = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(base))
    yield Web(base, server)


def answers(base: str) -> bool:
    try:
        return get(f"{base}/healthz", {}).status_code == 200
    except httpx2.TransportError:
        return False


def test_one_process_serves_hundreds_of_sockets_and_ends_at_once_when_told(
    web: Web, app: APIFlask, settings: Settings
) -> None:
    token = make_token(settings, "ours", list(SCOPES))
    clients = [Socket(web.base, token=token) for _ in range(MANY)]
    for client in clients:
        client.say(action="subscribe", topic="workspace:w1")
    assert all(client.hear()["type"] == "subscribed" for client in clients)
    sent = app.extensions["fleet"].events.publish("workspace:w1", "job:progress", {}, tenant="ours")
    assert {client.hear()["id"] for client in clients} == {sent}
    assert get(f"{web.base}/api/workspaces", {"Authorization": f"Bearer {token}"}).status_code == 200

    for client in clients[: MANY // 2]:
        client.close()
    wait_for_connections(app, MANY - MANY // 2)
    web.process.send_signal(signal.SIGTERM)
    assert {client.closed_with() for client in clients[MANY // 2 :]} == {GOING_AWAY}
    assert web.process.wait(20) == 0
    wait_for_connections(app, 0)


def test_a_request_that_waits_for_a_job_does_not_hold_up_the_end(web: Web, app: APIFlask, settings: Settings) -> None:
    payload = {"tenant_id": "ours", "workspace_id": "w1", "document_id": "d1"}
    job = app.extensions["fleet"].enqueue("documents.ingest", payload)
    headers = {"Authorization": f"Bearer {make_token(settings, 'ours', list(SCOPES))}"}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx2.get, f"{web.base}/api/jobs/{job.id}?wait=30", headers=headers, timeout=60)
        wait_for_connections(app, 1)
        web.process.send_signal(signal.SIGTERM)
        assert web.process.wait(20) == 0
        assert waiting.result().json()["status"] == "queued"


def test_tokens_in_urls_are_in_no_log_line(web: Web, settings: Settings, tmp_path: Path) -> None:
    token = make_token(settings, "ours", list(SCOPES))
    client = Socket(web.base, token=token)
    client.ask(action="ping")
    client.close()
    assert get(f"{web.base}/api/ws?token={token}", {}).status_code == 400
    assert get(f"{web.base}/api/jobs/x?token={token}", {}).status_code == 401
    web.process.send_signal(signal.SIGTERM)
    web.process.wait(20)
    log = (tmp_path / "process-0.log").read_text()
    assert "/api/jobs/x" in log
    assert token not in log and "token=" not in log
