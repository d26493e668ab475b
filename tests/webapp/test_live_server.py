"""The web server as it is deployed: hundreds of sockets in one process, and an end that does not wait for them."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from apiflask import APIFlask

from jobs.settings import Settings
from tests.conftest import free_port, wait_until
from tests.webapp.live_server import GUARD, Socket, get, wait_for_connections
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


def subscribed(client: Socket) -> Any:
    answer = client.ask(action="subscribe", topic="workspace:w1")
    return None if answer.get("code") == "unavailable" else answer


def test_one_process_serves_hundreds_of_sockets_and_ends_at_once_when_told(
    web: Web, app: APIFlask, settings: Settings
) -> None:
    token = make_token(settings, "ours", list(SCOPES))
    clients = [Socket(web.base, token=token) for _ in range(MANY)]
    for client in clients:
        client.say(action="subscribe", topic="workspace:w1")
    for client in clients:
        answer = client.hear()
        if answer.get("code") == "unavailable":  # so many at once may be more than a busy machine does in time
            answer = wait_until(partial(subscribed, client))
        assert answer["type"] == "subscribed", answer
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


def test_its_process_ends_and_closes_what_is_live_when_the_server_is_killed(web: Web, settings: Settings) -> None:
    client = Socket(web.base, token=make_token(settings, "ours", list(SCOPES)))
    client.ask(action="subscribe", topic="workspace:w1")
    serving = psutil.Process(web.process.pid).children()
    web.process.kill()
    assert client.closed_with() == GOING_AWAY
    assert psutil.wait_procs(serving, timeout=20)[1] == []


def test_its_process_closes_what_is_live_when_it_has_served_enough_requests(
    app: APIFlask, settings: Settings, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    port, served = str(free_port()), "--max-requests 30 --max-requests-jitter 0"
    command = ["-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()"]
    server = spawn(*command, PORT=port, WEB_CONCURRENCY="1", SHUTDOWN_GRACE="1", GUNICORN_CMD_ARGS=served)
    base = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(base))
    client = Socket(base, token=make_token(settings, "ours", list(SCOPES)))
    first = psutil.Process(server.pid).children()
    wait_until(lambda: answers(base) and not client.client.connected)
    assert client.closed_with() == GOING_AWAY
    assert psutil.wait_procs(first, timeout=20)[1] == []
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0


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
    web.process.wait(60)
    log = (tmp_path / "process-0.log").read_text()
    assert "/api/jobs/x" in log
    assert token not in log and "token=" not in log


def test_connections_that_never_finish_their_headers_hold_no_thread_and_are_closed(web: Web) -> None:
    """More of them than the process has threads, some of them in the second request of their connection."""
    address = ("127.0.0.1", int(web.base.rpartition(":")[2]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        idle = [opened.enter_context(socket.create_connection(address, timeout=GUARD)) for _ in range(1300)]
        for number, connection in enumerate(idle):
            first = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" if number % 100 == 0 else b""
            connection.sendall(first + b"GET / HTTP/1.1\r\nX: ")
        assert get(f"{web.base}/healthz", {}).status_code == 200
        for connection in (idle[0], idle[1]):
            with connection.makefile("rb") as answer:
                assert answer.read().count(b"HTTP/1.1") == (connection is idle[0])


def test_clients_that_do_not_leave_after_the_last_answer_hold_up_nobody(web: Web) -> None:
    address = ("127.0.0.1", int(web.base.rpartition(":")[2]))
    with ExitStack() as opened:
        for _ in range(100):
            staying = opened.enter_context(socket.create_connection(address, timeout=GUARD))
            staying.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert get(f"{web.base}/healthz", {}).status_code == 200


def test_a_request_that_comes_in_pieces_is_answered(web: Web) -> None:
    with socket.create_connection(("127.0.0.1", int(web.base.rpartition(":")[2])), timeout=GUARD) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = connection.makefile("rb")
        for last in (b"", b"Connection: close\r\n"):
            for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + last + b"\r\n":
                connection.sendall(bytes([byte]))
        assert answer.read().count(b"200 OK") == 2


def test_few_open_files_mean_fewer_connections_and_a_loud_word(
    app: APIFlask, settings: Settings, spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """With so few that even those are used up, the process still stays and answers."""
    port = str(free_port())
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (330, 330))"
    limit += "; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = ("-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()")
    server = spawn("-c", limit, *command, PORT=port, WEB_CONCURRENCY="1")
    base = f"http://127.0.0.1:{port}"
    wait_until(lambda: answers(base))
    [worker] = children_of(server)
    with ExitStack() as opened:
        for _ in range(400):
            opened.enter_context(socket.create_connection(("127.0.0.1", int(port)), timeout=GUARD))
        assert get(f"{base}/healthz", {}).status_code == 200
    assert children_of(server) == [worker]
    assert "raise ulimit -n" in (tmp_path / "process-0.log").read_text()


def children_of(process: subprocess.Popen[bytes]) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
