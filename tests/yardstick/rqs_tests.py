"""RQ's tests of its released version: downloaded, unpacked for the run and run with our plugin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, RedisServer

FOLDER = ROOT / "var" / "yardstick"
FILES = (
    "test_callbacks.py",
    "test_cli.py",
    "test_commands.py",
    "test_decorator.py",
    "test_dependencies.py",
    "test_executions.py",
    "test_group.py",
    "test_intermediate_queue.py",
    "test_job.py",
    "test_job_dependency.py",
    "test_queue.py",
    "test_rate_limit.py",
    "test_registry.py",
    "test_repeat.py",
    "test_results.py",
    "test_retry.py",
    "test_scheduler.py",
    "test_timeouts.py",
    "test_webhooks.py",
    "test_worker.py",
    "test_worker_registration.py",
)
"""Those of RQ's test files in which a worker works; the others test its cron, scripts and helpers."""
REPLACED = {
    "__init__.py": (("'db': dbnum}", "'db': dbnum, 'port': PORT}"), ("Redis()", "Redis(port=PORT)")),
    "test_worker.py": (("127.0.0.1:6379", "127.0.0.1:PORT"),),
    "test_cli.py": (("127.0.0.1:6379", "127.0.0.1:PORT"),),
    "test_scheduler.py": (("db=4,", "db=4, port=PORT,"), ("Redis(db=5)", "Redis(db=5, port=PORT)")),
    "fixtures.py": (("connection_kwargs, delay=0.25", "connection_kwargs, delay=3"),),
    "test_commands.py": (
        ("long_running_job, 4", "long_running_job, 15"),
        ("long_running_job, 3", "long_running_job, 15"),
        ("p.join(1)\n\n        time.sleep(0.1)", "p.join(5)"),
        ("p.join(2)", "p.join(5)"),
        ("time.sleep(0.1)", "time.sleep(1)"),
        ("time.sleep(0.25)", "time.sleep(1)"),
    ),
    "test_executions.py": (("timeout=3)", "timeout=6)"), ("sleep(0.5)", "sleep(3)")),
}
"""What to read instead in RQ's tests: another port than Redis' usual one, which may be somebody's, and more time where
they give a worker a quarter of a second to start, or look at what ours writes with its next renewal."""


class Unavailable(Exception):
    """RQ's source distribution can't be had."""


def unpacked(sdist: Path | None = None) -> Path:
    """The folder with RQ's `tests` as they are. Raises Unavailable when they can't be downloaded."""
    release = version("rq")
    archive = sdist or _downloaded(release)
    with tarfile.open(archive) as tar:
        inside = f"rq-{release}/tests/"
        members = [member for member in tar.getmembers() if member.name.startswith(inside)]
        if not members:
            raise Unavailable(f"{archive.name} has no tests of RQ {release}")
        tar.extractall(FOLDER, members=members, filter="data")
    return FOLDER / f"rq-{release}" / "tests"


def run(tests: Path, only: list[str], keyword: str, *, stock: bool, slow: bool) -> dict[str, dict[str, Any]]:
    """How each test ended: {id: {outcome, worked, why}}, `worked` being how often a worker has worked in it."""
    with tempfile.TemporaryDirectory(prefix="yardstick-") as name:
        server = RedisServer(Path(name))
        try:
            _adapt(tests, server.port)
            report = Path(name) / "report.json"
            environment = _environment(tests.parent, report, "stock" if stock else "fleet", slow)
            command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tests.parent)]
            command += ["-p", "rq_yardstick", "-p", "no:cacheprovider", "-v", "--timeout", "40", "--tb", "line"]
            command += ["-k", keyword, *(f"tests/{each}" for each in only or FILES)]
            _run(command, tests.parent, environment)
            found: dict[str, dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))
            return found
        finally:
            server.stop()


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """In a session of its own, since some of RQ's tests leave processes behind: they end with it."""
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
    try:
        process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _downloaded(release: str) -> Path:
    archive = FOLDER / f"rq-{release}.tar.gz"
    if not archive.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run([*command, "--dest", str(FOLDER), f"rq=={release}"], capture_output=True, text=True)
        if done.returncode or not archive.exists():
            raise Unavailable(f"the source distribution of RQ {release} can't be downloaded:\n{done.stderr}")
    return archive


def _adapt(tests: Path, port: int) -> None:
    for name, replacements in REPLACED.items():
        text = (tests / name).read_text(encoding="utf-8")
        for old, new in replacements:
            if old not in text:
                raise Unavailable(f"{name} of RQ's tests has changed: {old!r} is not in it")
            text = text.replace(old, new.replace("PORT", str(port)))
        (tests / name).write_text(text, encoding="utf-8")


def _environment(folder: Path, report: Path, worker: str, slow: bool) -> dict[str, str]:
    ours = {
        "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent / "inside"), str(ROOT)]),
        "PATH": os.pathsep.join([str(_commands(worker)), os.environ["PATH"]]),
        "ENVIRONMENT": "test",
        "SECRET_KEY": "a-secret-key-for-the-tests-0123456789",
        "LOG_LEVEL": "ERROR",
        "JOB_MODULES": "rq_json",
        "FOREIGN_JOBS": "*",
        "WORKER_CONCURRENCY": "1",
        "QUEUE_ORDER": "strict",
        "LEASE": "1",
        "YARDSTICK_WORKER": worker,
        "YARDSTICK_ROOT": str(ROOT),
        "YARDSTICK_PYTHON": sys.executable,
        "YARDSTICK_REPORT": str(report),
    }
    return {**os.environ, **ours, **({"RUN_SLOW_TESTS_TOO": "1"} if slow else {})}


def _commands(worker: str) -> Path:
    """Where `rqworker` is: ours, or RQ's own beside the interpreter."""
    return Path(sys.executable).parent if worker == "stock" else Path(__file__).parent / "bin"
