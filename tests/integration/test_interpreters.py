"""bin/run finds a Python that will do, and says what is wrong with those that will not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOLS = ("dirname", "cat", "cksum", "rm", "tail", "sh")
SHIM = "echo 'pyenv: the command exists in these versions' >&2; exit 127"
"""What pyenv puts on the PATH for a version that is not selected."""


def test_a_python_without_venv_does_not_end_the_search(tmp_path: Path) -> None:
    """The second one that is found has all it needs, but then fails to make the environment: it was asked."""
    tools = _tools(tmp_path, python3="case $2 in *ensurepip*) exit 1;; *platform*) echo 3.12.1;; esac")
    _script(tools / "python", 'case $2 in *platform*) echo 3.11.9;; venv) echo "asked $0" >&2; exit 1;; esac')
    done = _run_in(tmp_path, tools)
    assert f"asked {tools / 'python'}" in done.stderr
    assert "comes without venv" not in done.stderr


@pytest.mark.parametrize(
    ("on_the_path", "of_pyenv", "chosen"),
    [
        (["python3.11", "python3.12", "python3.13", "python3.14", "python3"], [], "tools/python3.13"),
        (["python3.11", "python3.12", "python3"], [], "tools/python3.12"),
        (["python3", "python3.11"], [], "tools/python3.11"),
        (["python", "python3.14", "python3"], [], "tools/python3"),
        (["python3.13", "python3"], ["3.13.4"], "tools/python3.13"),
        (["python3.11", "python3"], ["3.12.3", "3.13.2", "3.13.10", "3.13.9"], "versions/3.13.10/bin/python3.13"),
        (["python3.11", "python3"], ["3.12.3", "3.13.0rc1", "3.13.7t"], "versions/3.12.3/bin/python3.12"),
    ],
)
def test_the_best_python_is_the_newest_that_all_of_this_was_tried_on(
    tmp_path: Path, on_the_path: list[str], of_pyenv: list[str], chosen: str
) -> None:
    tools = _tools(tmp_path, python3=None)
    _script(tools / "python3.13", SHIM)
    for name in on_the_path:
        _script(tools / name, _python("3.13.1"))
    for version in of_pyenv:
        _of_pyenv(tmp_path, version, _python(version))
    assert f"asked {tmp_path / chosen}\n" in _run_in(tmp_path, tools, PYENV_ROOT=str(tmp_path)).stderr


def test_pyenv_is_asked_where_it_keeps_its_versions(tmp_path: Path) -> None:
    tools = _tools(tmp_path, python3=_python("3.11.2"))
    _script(tools / "pyenv", f"echo '{tmp_path / 'its own'}'")
    _of_pyenv(tmp_path / "its own", "3.13.5", _python("3.13.5"))
    assert f"asked {tmp_path / 'its own/versions/3.13.5/bin/python3.13'}\n" in _run_in(tmp_path, tools).stderr


@pytest.mark.parametrize("absent", ["ctypes", "sqlite3", "ssl"])
def test_a_python_built_without_what_is_needed_is_passed_over(tmp_path: Path, absent: str) -> None:
    tools = _tools(tmp_path, python3=_python("3.11.2"))
    _script(tools / "python3.13", f"case $2 in *{absent}*) exit 1;; esac\n{_python('3.13.1')}")
    assert f"asked {tools / 'python3'}\n" in _run_in(tmp_path, tools).stderr


def test_an_environment_of_an_older_python_stays_in_use(tmp_path: Path) -> None:
    tools = _tools(tmp_path, python3=_python("3.11.2"))
    _script(tools / "python3.13", _python("3.13.1"))
    own = tmp_path / "project/.venv/bin/python"
    own.parent.mkdir(parents=True)
    _script(own, 'case "$*" in *deploy.launcher*) echo "started by $0";; esac')
    (tmp_path / "project/requirements").mkdir()
    (tmp_path / "project/requirements/base.lock").write_text("")
    done = _run_in(tmp_path, tools)
    assert "asked" not in done.stderr
    assert done.stdout.endswith(f"started by {own}\n")


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


def _python(version: str) -> str:
    """A Python that can be used, which says its name and fails when it is asked for an environment."""
    return f'case $2 in *platform*) echo {version};; venv) echo "asked $0" >&2; exit 1;; esac'


def _of_pyenv(root: Path, version: str, text: str) -> None:
    """A version that pyenv has installed below `root`."""
    folder = root / "versions" / version / "bin"
    folder.mkdir(parents=True)
    _script(folder / f"python{version[:4]}", text)


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _run_in(folder: Path, tools: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """bin/run of a copy of the project in `folder`, with nothing on its PATH but `tools`."""
    shutil.copytree(ROOT / "bin", folder / "project" / "bin", dirs_exist_ok=True)
    command = [str(tools / "sh"), str(folder / "project/bin/run")]
    return subprocess.run(command, env={"PATH": str(tools), **environ}, capture_output=True, text=True)
