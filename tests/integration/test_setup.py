"""The two commands of the README: they set everything up, run it for real, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import psutil
import pytest

from tests.conftest import ROOT, free_port, wait_until

LINK = re.compile(r"Ready: (\S+)")


class Running:
    """A launcher that was started, what it has printed so far, and the processes under it."""

    def __init__(self, *arguments: str, log: Path, port: int, **variables: str) -> None:
        self._log = log
        command = [sys.executable, "-m", "deploy.launcher", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        environment |= {"PORT": str(port), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
        environment |= {"WEB_CONCURRENCY": "1"} | variables  # each web process costs a second of processor
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None, timeout=60)
        assert text in self.output, self.output

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals) -> int:
        """Send a signal; the exit code, once none of the children is left."""
        children = self.children()
        self.process.send_signal(number)
        code = self.process.wait(60)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, alive
        return code


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*arguments: str, port: int | None = None, **variables: str) -> Running:
        log = tmp_path / f"launcher-{len(started)}.log"
        running = Running(*arguments, log=log, port=port or free_port(), **variables)
        started.append(running)
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(60)


@pytest.mark.skipif(not (ROOT / ".venv").is_dir(), reason="bin/run or bin/test has not made .venv yet")
def test_one_command_processes_the_samples_from_any_folder_with_an_empty_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    samples = sorted(str(path) for path in (ROOT / "docs/samples").iterdir())
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("PIP_")}
    environment = kept | {"HOME": str(tmp_path / "home"), "PORT": str(free_port()), "COLUMNS": "200"}
    command = [str(ROOT / "bin/run"), "--once", "--data", str(tmp_path / "var"), *samples]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(samples)} of {len(samples)} files processed." in done.stdout
    assert "needed from the fourth day on" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_a_file_that_can_not_be_read_says_why_and_fails_the_command(
    tmp_path: Path, launch: Callable[..., Running]
) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nthis is none\n")
    (tmp_path / "good.md").write_text("# Otters\n\nOtters hold hands while they sleep.\n")
    files = [str(tmp_path / name) for name in ("broken.pdf", "good.md", "missing.txt")]
    running = launch("--once", "--data", str(tmp_path / "var"), "--ask", "Do otters hold hands?", *files)
    assert running.process.wait(120) == 1
    assert re.search(r"broken\.pdf failed in .*: .*PDF", running.output), running.output
    assert re.search(r"missing\.txt +missing +there is no such file", running.output)
    assert "1 of 3 files processed." in running.output
    assert "Otters hold hands while they sleep." in running.output


def test_it_signs_the_person_in_refuses_a_second_start_and_stops_cleanly(
    tmp_path: Path, launch: Callable[..., Running]
) -> None:
    data, port = str(tmp_path / "var"), free_port()
    running = launch("--data", data, str(ROOT / "docs/samples/recipes.html"), port=port)
    running.wait_for("Ready: ")
    assert "rq-fleet" in _open(_link_of(running))

    second = launch("--data", data)
    assert second.process.wait(30) == 1
    assert f"Another bin/run (process {running.process.pid}) uses {data}" in second.output

    neighbour = launch("--data", str(tmp_path / "other"), port=port)
    neighbour.wait_for(f"Port {port} is busy, so the page is at port ")
    assert neighbour.end(signal.SIGTERM) == 0

    running.wait_for("1 of 1 files processed.")
    assert running.end(signal.SIGINT) == 0
    stopped = re.findall(r"^Stopping (\w+)\.$", running.output, re.MULTILINE)
    assert stopped == ["scheduler", "web", "worker", "redis"]
    assert "Traceback" not in running.output


def test_a_worker_that_dies_is_started_again_three_times(tmp_path: Path, launch: Callable[..., Running]) -> None:
    running = launch("--data", str(tmp_path / "var"), str(ROOT / "docs/samples/recipes.html"))
    running.wait_for("1 of 1 files processed.")
    for number in (1, 2, 3):
        _kill(running, "worker.py")
        running.wait_for(f"The process worker has ended by itself (killed by signal 9); it is started again ({number}")
    _kill(running, "worker.py")
    assert running.process.wait(60) == 1
    assert "The process worker has ended by itself (killed by signal 9) and was started again 3 times" in running.output


def test_a_web_server_that_dies_takes_the_rest_along(tmp_path: Path, launch: Callable[..., Running]) -> None:
    running = launch("--data", str(tmp_path / "var"), str(ROOT / "docs/samples/recipes.html"))
    running.wait_for("1 of 1 files processed.")
    children = running.children()
    _kill(running, "webapp:create_app()")
    assert running.process.wait(60) == 1
    assert "The process web has ended by itself (killed by signal 9)." in running.output
    assert "Nothing is lost: start bin/run again." in running.output
    assert "Traceback" not in running.output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_a_port_that_is_taken_after_it_was_found_free_is_passed_over(
    tmp_path: Path, launch: Callable[..., Running]
) -> None:
    """Somebody listens on the port from when it was found until long after, and even answers as a page would."""
    port = free_port()
    running = launch("--data", str(tmp_path / "var"), "--once", str(ROOT / "docs/samples/recipes.html"), port=port)
    log = tmp_path / "var/log"
    wait_until(lambda: (log / "redis.log").exists())
    with HTTPServer(("127.0.0.1", port), AnswersAll) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        code = running.process.wait(120)
        stranger.shutdown()
    assert f"Port {port} is busy, so the page is at port " in running.output
    assert code == 0, running.output


class AnswersAll(BaseHTTPRequestHandler):
    """A stranger to whom every question is a good one."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("PORT", "abc", "abc is no number from 1 to 65535"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "Redis can't be reached"),
        ("DATABASE_URL", "postgresql://127.0.0.1:1/none", "onnection"),
        ("DATABASE_URL", "sqlite:////dev/null/none.db", ""),
        ("STORAGE_URL", "file:///dev/null/none", ""),
        ("STORAGE_URL", "ftp://nowhere", "use file:///path"),
    ],
)
def test_a_variable_that_leads_nowhere_is_named_at_once_in_one_line(
    tmp_path: Path, launch: Callable[..., Running], variable: str, value: str, reason: str
) -> None:
    running = launch("--once", "--data", str(tmp_path / "var"), **{variable: value})
    assert running.process.wait(60) == 1
    assert re.fullmatch(rf"{variable} can't be used: .*{re.escape(reason)}.*\n", running.output), running.output


def test_a_data_folder_that_can_not_be_written_is_named(launch: Callable[..., Running]) -> None:
    running = launch("--once", "--data", "/proc/self")
    assert running.process.wait(60) == 1
    assert re.search(r"The data folder /proc/\w+ can't be written: .*\n.*--data", running.output), running.output


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "SECRET_KEY must be set in production"),
        ({"SECRET_KEY": "x" * 32}, "Nobody could sign in: set JWT_JWKS_URL or JWT_SECRET, or ADMIN_PASSWORD_HASH."),
    ],
)
def test_a_web_server_that_nobody_could_use_says_so_instead_of_a_traceback(
    variables: dict[str, str], reason: str
) -> None:
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "webapp:create_app()"]
    environment = {"PATH": os.environ["PATH"], "ENVIRONMENT": "production", "PORT": str(free_port()), **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_says_what_it_waits_for_and_a_second_one_does_not_wait(
    tmp_path: Path, launch: Callable[..., Running]
) -> None:
    running = launch("--once", "--data", str(tmp_path / "var"))
    running.wait_for("Processing ")
    running.process.send_signal(signal.SIGINT)
    running.wait_for("Running jobs may take up to 25 s to finish. Ctrl-C again ends all at once.")
    assert running.end(signal.SIGINT) == 130


def _kill(running: Running, command: str) -> None:
    """Kill the launcher's own child whose command line ends so, as soon as there is one."""
    launcher = psutil.Process(running.process.pid)
    wait_until(lambda: [child.kill() or child for child in launcher.children() if _ends(child, command)])


def _ends(process: psutil.Process, command: str) -> bool:
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[-1:] == [command]
    return False


def _link_of(running: Running) -> str:
    found = LINK.search(running.output)
    assert found is not None
    return found[1]


def _open(address: str) -> str:
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor())
    with browser.open(address, timeout=30) as answer:
        return str(answer.read().decode())
