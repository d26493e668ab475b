"""bin/run finds a Python that will do, and says what is wrong with those that will not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOLS = ("dirname", "cat", "cksum", "rm", "tail", "sh")


def test_a_python_without_venv_does_not_end_the_search(tmp_path: Path) -> None:
    """The second one that is found has all it needs, but then fails to make the environment: it was asked."""
    tools = _tools(tmp_path, python3="case $2 in *ensurepip*) exit 1;; *platform*) echo 3.12.1;; esac")
    _script(tools / "python", 'case $2 in *platform*) echo 3.11.9;; venv) echo "asked $0" >&2; exit 1;; esac')
    done = _run_in(tmp_path, tools)
    assert f"asked {tools / 'python'}" in done.stderr
    assert "comes without venv" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be written by root")
def test_a_venv_of_another_user_is_named(tmp_path: Path) -> None:
    (tmp_path / "project/.venv").mkdir(parents=True)
    (tmp_path / "project/.venv").chmod(0o555)
    done = _run_in(tmp_path, _tools(tmp_path, python3="case $2 in *platform*) echo 3.12.1;; esac"))
    assert "belongs to another user" in done.stderr


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
    done = _run_in(tmp_path, _tools(tmp_path, python3=python))
    assert done.returncode == 1
    assert explanation in done.stderr
    assert "apt-get install" in done.stderr


def _tools(folder: Path, python3: str | None) -> Path:
    """A folder with the few programs that the scripts need and, if given, a script in the place of Python."""
    tools = folder / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(str(shutil.which(name)))
    if python3 is not None:
        _script(tools / "python3", python3)
    return tools


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _run_in(folder: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    """bin/run of a copy of the project in `folder`, with nothing on its PATH but `tools`."""
    shutil.copytree(ROOT / "bin", folder / "project" / "bin", dirs_exist_ok=True)
    command = [str(tools / "sh"), str(folder / "project/bin/run")]
    return subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)
