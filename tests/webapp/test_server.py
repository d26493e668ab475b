"""The application under a real gunicorn with several processes: streaming, broken bodies, metrics, outages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2
import psutil
import pytest

from jobs.adapters import storage
from jobs.engine import Fleet
from jobs.settings import Settings
from tests.conftest import ROOT, free_port, wait_until
from tests.webapp.gunicorn_server import Server
from tests.webapp.live_server import Socket
from webapp.auth import SCOPES, make_token

Header = dict[str, str]
MIB = 1024 * 1024
TYPE = {"Content-Type": "multipart/form-data; boundary=frontier"}
HEAD = b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n'
TAIL = b"\r\n--frontier--\r\n"


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    """Where the server's processes count."""
    return tmp_path / "counts"


@pytest.fixture
def server(tables: None, spawn: Callable[..., subprocess.Popen[bytes]], counts: Path) -> Iterator[Server]:
    port = free_port()
    command = ["-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn.conf.py"), "webapp:create_app()"]
    process = spawn(*command, PORT=str(port), WEB_CONCURRENCY="2", PROMETHEUS_MULTIPROC_DIR=str(counts))
    running = Server(process, port)
    wait_until(running.up)
    yield running
    process.terminate()
    process.wait(30)


@pytest.fixture
def place(server: Server, us: Header) -> str:
    body = json.dumps({"slug": "papers", "name": "Papers"})
    status, _, _ = server.ask("POST", "/api/workspaces", body, us | {"Content-Type": "application/json"})
    assert status == 201
    return "/api/workspace/papers/upload"


def stream(size: int) -> Iterator[bytes]:
    yield HEAD
    for _ in range(size // MIB):
        yield b"x" * MIB
    yield TAIL


def test_a_large_file_is_streamed_and_never_held(server: Server, place: str, us: Header, settings: Settings) -> None:
    size, before = 96 * MIB, server.memory()
    for how in ({"Content-Length": str(len(HEAD) + size + len(TAIL))}, {"Transfer-Encoding": "chunked"}):
        status, headers, body = server.ask(
            "POST", place, stream(size), us | TYPE | how, encode_chunked="Transfer-Encoding" in how
        )
        assert status == 202, body
        assert headers["Location"].startswith("/api/jobs/")
    assert [stored.size for stored in storage.connect(settings).list("uploads/")] == [size, size]
    assert server.memory() - before < 24 * MIB
    status, _, body = server.ask("POST", place, stream(101 * MIB), us | TYPE | how, encode_chunked=True)
    assert status == 422
    assert "larger" in json.loads(body)["documents"][0]["error"]
    assert len(list(storage.connect(settings).list("uploads/"))) == 2


BROKEN = [b"5\r\nabc", b"zz\r\nabc\r\n0\r\n\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"-1\r\n\r\n", b""]


def test_a_broken_chunked_body_is_4xx(server: Server, place: str, us: Header) -> None:
    for path, media_type in ((place, TYPE["Content-Type"]), ("/api/workspaces", "application/json")):
        for tail in BROKEN:
            lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "Connection: close"]
            lines += [f"Content-Type: {media_type}", f"Authorization: {us['Authorization']}", "", ""]
            chunk = b"%x\r\n%s\r\n" % (len(HEAD), HEAD)
            answer = server.raw("\r\n".join(lines).encode() + chunk + tail)
            assert answer.startswith(b"HTTP/1.1 4"), (tail, answer)
    lines[2] = "Content-Length: 100000"
    answer = server.raw("\r\n".join(lines).encode() + HEAD + b"words")
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert server.up()


LONG, JSON = b"[" * 100_000, {"Content-Type": "application/json"}
REFUSED = {"/admin/queues/api/jobs/bulk": 401, "/nowhere": 404, "/healthz": 405}


def test_an_answer_that_leaves_a_long_body_unread_says_that_it_ends_the_connection(server: Server) -> None:
    for path, status in REFUSED.items():
        chunks = server.ask("POST", path, iter([LONG]), JSON | {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        for found, told, _ in (chunks, server.ask("POST", path, LONG, JSON)):
            assert (found, told["Connection"]) == (status, "close")
        found, told, _ = server.ask("POST", path, b"{}", JSON)
        assert (found, told["Connection"]) == (status, "keep-alive")
    with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
        for size in (100_000, 100, 20_000, 100_000, 5_000):  # none of them breaks the request that comes next
            assert client.post("/admin/queues/api/jobs/bulk", content=b"[" * size).status_code == 401


def test_a_query_may_be_as_long_as_a_cursor_and_a_longer_one_is_a_problem(server: Server) -> None:
    assert server.ask("GET", f"/admin/queues/api/jobs?cursor={'a' * 8000}")[0] == 401
    status, headers, body = server.ask("GET", f"/admin/queues/api/jobs?cursor={'a' * 9000}")
    assert (status, headers["Content-Type"], headers["Connection"]) == (414, "application/problem+json", "close")
    assert json.loads(body)["detail"] == "The address is longer than 8,190 characters."
    status, headers, body = server.ask("GET", "/healthz", headers={"X-Long": "a" * 100_000})
    assert (status, headers["Content-Type"]) == (431, "application/problem+json")


def test_every_process_counts_and_any_answers_for_all(server: Server) -> None:
    for _ in range(40):
        server.ask("GET", "/api/workspaces")
    assert [server.told("flask_http_request_total", 'status="401"') for _ in range(8)] == [40.0] * 8


def test_counts_never_go_back_when_processes_are_replaced(server: Server, counts: Path) -> None:
    def replaced(victim: int) -> bool:
        return (
            victim not in server.children() and len(server.children()) == 2 and not list(counts.glob(f"*_{victim}.db"))
        )

    for killed in range(1, 4):
        for _ in range(5):
            server.ask("GET", "/api/workspaces")
        victim = server.children()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(partial(replaced, victim))
        assert server.told("flask_http_request_total", 'status="401"') == 5 * killed
        assert server.told("fleet_http_request_seconds_count", 'area="workspaces"') == 5 * killed
    assert len(list(counts.glob("*_ended.db"))) == 3


def test_counts_that_nobody_gave_a_place_leave_nothing_behind(
    tables: None, spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    port, temporary = free_port(), tmp_path / "temporary"
    temporary.mkdir()
    command = ["-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn.conf.py"), "webapp:create_app()"]
    process = spawn(*command, PORT=str(port), WEB_CONCURRENCY="1", TMPDIR=str(temporary))
    server = Server(process, port)
    wait_until(server.up)
    (before,) = server.children()
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: server.up() and before not in server.children())
    assert [each.name.startswith("rq-fleet-counts-") for each in temporary.iterdir()] == [True]
    process.terminate()
    assert process.wait(60) == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("reloaded", [False, True])
def test_counts_that_nobody_gave_a_place_are_each_servers_own_while_a_new_one_takes_over(
    tables: None, spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, reloaded: bool
) -> None:
    port, temporary, successors = free_port(), tmp_path / "temporary", tmp_path / "pid.2"
    temporary.mkdir()
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))  # one that was started with -m can't start another
    configuration = ["-c", str(ROOT / "deploy/gunicorn.conf.py"), "-p", str(tmp_path / "pid")]
    process = spawn(
        gunicorn, *configuration, "webapp:create_app()", PORT=str(port), WEB_CONCURRENCY="1", TMPDIR=str(temporary)
    )
    server = Server(process, port)
    wait_until(server.up)
    (own,) = temporary.iterdir()
    if reloaded:
        (before,) = server.children()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.up() and before not in server.children())
    process.send_signal(signal.SIGUSR2)
    successor = psutil.Process(int(wait_until(lambda: successors.exists() and successors.read_text())))
    try:
        wait_until(lambda: successor.children() and len(list(temporary.iterdir())) == 2)
        successor.terminate()
        wait_until(lambda: list(temporary.iterdir()) == [own])
    finally:
        with suppress(psutil.NoSuchProcess):
            successor.kill()
    assert server.ask("GET", "/metrics")[0] == 200
    assert list(own.iterdir()) != []
    process.terminate()
    assert process.wait(60) == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("broken", ["counter_999999999.db", "ended", "lock"])
def test_the_server_outlives_whatever_is_wrong_with_its_files_of_counts(
    server: Server, counts: Path, broken: str
) -> None:
    if broken == "lock":
        (counts / "lock").unlink(missing_ok=True)
        (counts / "lock").mkdir()
    elif broken == "ended":
        (counts / "counter_ended.new").mkdir()
    else:
        (counts / broken).write_bytes(b"\xff\xff\xff\x7f" * 1024)
    victim = server.children()[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in server.children() and len(server.children()) == 2)
    assert server.ask("GET", "/healthz")[0] == 200
    if broken.endswith(".db"):
        assert server.ask("GET", "/metrics")[0] == 200


def test_any_process_tells_of_the_connections_and_the_processes_of_all(
    server: Server, settings: Settings, fleet: Fleet
) -> None:
    sockets = [
        Socket(f"http://127.0.0.1:{server.port}", token=make_token(settings, "ours", list(SCOPES))) for _ in range(6)
    ]
    for each in sockets:
        each.say(action="subscribe", topic="workspace:w1")
        assert each.hear()["type"] == "subscribed"
    sent = fleet.events.publish("workspace:w1", "job:progress", {}, tenant="ours")
    assert {each.hear()["id"] for each in sockets} == {sent}

    told = server.told
    wait_until(lambda: told("fleet_live_events_total", 'transport="websocket"') == 6)
    assert [told("fleet_live_connections") for _ in range(8)] == [6.0] * 8
    assert told("fleet_web_processes") >= 3
    assert told("fleet_web_memory_bytes") > 50 * MIB
    assert told("fleet_web_cpu_seconds_total") > 0
    for each in sockets:
        each.close()
    wait_until(lambda: told("fleet_live_connections") == 0)
