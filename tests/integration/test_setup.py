"""The two commands of the README: they set everything up, run it for real, and leave nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import psutil
import pytest

from tests.conftest import ROOT, free_port, wait_until

TOOLS = ("dirname", "cat", "cksum", "rm", "tail", "sh")
LINK = re.compile(r"Ready: (\S+)")


class Running:
    """A launcher that was started, what it has printed so far, and the processes under it."""

    def __init__(self, *arguments: str, log: Path, port: int) -> None:
        self._log = log
        command = [sys.executable, "-m", "deploy.launcher", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
        environment |= {"PORT": str(port), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
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

    def start(*arguments: str, port: int | None = None) -> Running:
        running = Running(*arguments, log=tmp_path / f"launcher-{len(started)}.log", port=port or free_port())
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


def test_a_process_that_dies_is_named_and_takes_the_rest_along(tmp_path: Path, launch: Callable[..., Running]) -> None:
    running = launch("--data", str(tmp_path / "var"), str(ROOT / "docs/samples/recipes.html"))
    running.wait_for("1 of 1 files processed.")
    children = running.children()
    worker = next(
        child for child in children if child.cmdline()[-1] == "worker.py" and child.ppid() == running.process.pid
    )
    worker.kill()
    assert running.process.wait(60) == 1
    assert "The process worker has ended by itself (killed by signal 9)" in running.output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize("script", ["bin/run", "bin/test", "bin/environment"])
def test_the_scripts_are_posix_shell(script: str) -> None:
    subprocess.run(["sh", "-n", str(ROOT / script)], check=True)


@pytest.mark.parametrize(
    ("python", "explanation"),
    [
        (None, "This needs Python 3.11 or newer with venv."),
        ('[ "$2" = "${2#import sys}" ] && echo 3.9.2', "Too old: python3=3.9.2."),
        ("case $2 in *ensurepip*) exit 1;; *platform*) echo 3.12.1;; esac", "python3 (3.12.1) comes without venv."),
    ],
)
def test_a_missing_python_is_explained(tmp_path: Path, python: str | None, explanation: str) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(str(shutil.which(name)))
    if python is not None:
        (tools / "python3").write_text(f"#!/bin/sh\n{python}\n")
        (tools / "python3").chmod(0o755)
    shutil.copytree(ROOT / "bin", tmp_path / "project" / "bin")
    command = [str(tools / "sh"), str(tmp_path / "project/bin/run")]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert explanation in done.stderr
    assert "apt-get install" in done.stderr


def _link_of(running: Running) -> str:
    found = LINK.search(running.output)
    assert found is not None
    return found[1]


def _open(address: str) -> str:
    browser = build_opener(ProxyHandler({}), HTTPCookieProcessor())
    with browser.open(address, timeout=30) as answer:
        return str(answer.read().decode())
