"""How long a scrape takes of the web server as it is deployed: some processes replaced, all routes asked for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from apiflask import APIFlask

from webapp.sessions import make_ticket

ROOT = Path(__file__).resolve().parent.parent
TIMES, ROUNDS = 40, 2
UP_WITHIN = 300.0  # seconds
ENDLESS = ("/events", "/ws", "/stream")
Row = dict[str, Any]


def scraped(app: APIFlask, settings: Mapping[str, str], place: Path, *, processes: int, bound: int) -> list[Row]:
    """Rows for /metrics of such a server, in milliseconds with the client's part, and what an idle answer takes.

    Each route is asked for by strangers and by an operator, with GET and POST, and all processes are replaced between.
    """
    with _server(settings, place / "counts", processes) as (server, port):
        for _ in range(ROUNDS):
            _ask_for_all(app, port)
            _replace(server, port)
        _ask_for_all(app, port)
        took, idle = ([_took(port, path) for _ in range(TIMES)] for path in ("/metrics", "/healthz"))
        series = [line for line in _ask(port, "GET", "/metrics")[2].splitlines() if not line.startswith(b"#")]
    about = f"{processes} processes, {ROUNDS * processes} replaced, {len(series)} series"
    return [
        _row(f"/metrics of gunicorn: {about}", took, bound),
        _row(f"/healthz of the same: {processes}", idle, bound),
    ]


@contextmanager
def _server(settings: Mapping[str, str], folder: Path, processes: int) -> Iterator[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    extra = {"PORT": str(port), "WEB_CONCURRENCY": str(processes), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()"]
    with (folder.parent / "web.log").open("wb") as log:
        env = {**os.environ, **settings, **extra, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        _until(lambda: _is_up(port))
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)


def _ask_for_all(app: APIFlask, port: int) -> None:
    """On a connection of its own each, so that every process answers some."""
    ticket = make_ticket(app.extensions["settings"])
    _, headers, _ = _ask(port, "GET", f"/dev/sign-in?ticket={ticket}")
    signed_in = "; ".join(each.partition(";")[0] for each in headers.get_all("Set-Cookie", []))
    for path in _paths(app):
        for method in ("GET", "POST"):
            for cookie in ({}, {"Cookie": signed_in}):
                with suppress(OSError):
                    _ask(port, method, path, cookie)


def _paths(app: APIFlask) -> Iterator[str]:
    urls = app.url_map.bind("")
    for rule in app.url_map.iter_rules():
        if not rule.rule.endswith(ENDLESS) and not rule.rule.startswith("/admin/rq"):
            with suppress(Exception):  # an address for which a 1 is no value
                yield urls.build(rule.endpoint, dict.fromkeys(rule.arguments, "1"), append_unknown=False)


def _ask(port: int, method: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def _replace(server: int, port: int) -> None:
    """End all processes, and wait for as many others."""
    before = _children(server)
    for pid in before:
        os.kill(pid, signal.SIGTERM)
    _until(lambda: not set(before) & set(_children(server)) and len(_children(server)) == len(before) and _is_up(port))


def _children(server: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def _is_up(port: int) -> bool:
    with suppress(OSError):
        return _ask(port, "GET", "/healthz")[0] == 200
    return False


def _until(holds: Any) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("the web server does not answer")
        time.sleep(0.2)


def _took(port: int, path: str) -> float:
    """On a new connection: whichever process takes it."""
    begun = time.perf_counter()
    if _ask(port, "GET", path)[0] != 200:
        raise RuntimeError(f"{path} is not answered")
    return round((time.perf_counter() - begun) * 1000, 1)


def _row(path: str, took: list[float], bound: int) -> Row:
    return {"path": path, "first": took[0], "median": round(median(took), 1), "longest": max(took), "bound": bound}
