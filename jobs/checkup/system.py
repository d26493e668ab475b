"""This machine: open files, processes and memory for as many children as a worker may have."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException

from jobs.checkup.findings import Finding
from jobs.settings import DEVELOPMENT_SECRET, Settings

FILES_A_CHILD, FILES = 8, 250
SOON = 1.0  # seconds
PART = "system"


def examine(settings: Settings) -> Iterator[Finding]:
    """Limits, processors and secrets."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)[1], settings.worker_concurrency
    needed = FILES + FILES_A_CHILD * most
    if files != resource.RLIM_INFINITY and files < needed:
        yield Finding("problem", PART, f"{files} open files are allowed; {most} slots need {needed}",
                      f"Raise the limit: ulimit -n {needed}")  # fmt: skip
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if processes != resource.RLIM_INFINITY and processes < 2 * most:
        yield Finding("problem", PART, f"{processes} processes are allowed; {most} slots need twice as many",
                      "Raise the limit: ulimit -u, or pids in the container's settings.")  # fmt: skip
    yield Finding("ok", PART, f"{most} slots on {len(os.sched_getaffinity(0))} processors")
    if settings.secret_key == DEVELOPMENT_SECRET:
        yield Finding("note", PART, "SECRET_KEY is the one that everybody knows",
                      "Before anybody else can reach this: openssl rand -hex 32")  # fmt: skip
    if not settings.anybody_can_sign_in:
        yield Finding("problem", PART, "nobody could sign in",
                      "Set JWT_SECRET or JWT_JWKS_URL, or ADMIN_PASSWORD_HASH.")  # fmt: skip
    yield from _port(settings.port)


def _port(port: int) -> Iterator[Finding]:
    """Who listens where the web server shall."""
    try:
        with socket.create_connection(("127.0.0.1", port), SOON):
            pass
    except OSError:
        return
    if _is_ours(port):
        yield Finding("ok", PART, f"a web server of a fleet answers at port {port}")
    else:
        yield Finding("note", PART, f"something else listens at port {port}, so that no web server can start there",
                      "End it, or set PORT to another one.")  # fmt: skip


def _is_ours(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=SOON)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read(100).strip() == b'{"status":"ok"}'
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
