"""The documents agree with what they describe."""

from __future__ import annotations

import ast
import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import engine
from jobs.engine import Context, Fleet, JobType, Node, Workflow
from jobs.engine.context import JobLog
from jobs.engine.control import Jobs
from jobs.engine.events import Events, Subscription
from jobs.engine.workflows.control import Workflows
from jobs.settings import Settings
from tests.conftest import ROOT

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([A-Z][A-Z_]+)` \| (.*?) \|", OPERATIONS, re.MULTILINE))
TUTORIAL = (ROOT / "docs/add-a-job.md").read_text(encoding="utf-8")
WORKFLOWS = (ROOT / "docs/workflows.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python *(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def test_every_setting_has_a_row_and_every_row_is_a_setting() -> None:
    fields = {name.upper() for name in Settings.model_fields} - {"OVERRIDES"}
    assert set(ROWS) == fields
    assert "`OVERRIDES`" in OPERATIONS


@pytest.mark.parametrize("name", ["port", "web_concurrency", "worker_concurrency", "upload_max_bytes", "jwt_issuer"])
def test_plain_defaults_are_told_as_they_are(name: str) -> None:
    assert ROWS[name.upper()] == f"`{Settings.model_fields[name].default}`"


@pytest.mark.parametrize("name", ["shutdown_grace", "cancel_grace", "lease"])
def test_durations_are_told_in_seconds(name: str) -> None:
    assert ROWS[name.upper()] == f"`{Settings.model_fields[name].default.total_seconds():.0f}`"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        *sorted(
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "docs").rglob("*.md")
            if "sample" not in path.parts[-2]
        ),
    ],
)
def test_links_to_our_own_files_lead_somewhere(page: str) -> None:
    path = ROOT / page
    broken = [target for target in LINK.findall(path.read_text(encoding="utf-8")) if not _exists(path.parent / target)]
    assert broken == []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a worker needs, with the files that the tutorial writes; Python compiles it once."""
    folder = tmp_path_factory.mktemp("docs") / "project"
    shutil.copytree(ROOT / "jobs", folder / "jobs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("worker.py", "setup.cfg", "tests/conftest.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name, code in BLOCK.findall(TUTORIAL) + BLOCK.findall(WORKFLOWS):
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
    for noun in ("texts", "reports"):
        (folder / f"jobs/domains/{noun}/__init__.py").write_text(f'"""{noun.title()}."""\n', encoding="utf-8")
    return folder


@pytest.fixture
def processes(project: Path, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """A worker and a scheduler of that project; gives their environment."""
    key = base64.urlsafe_b64encode(bytes(32)).decode()
    env = {**os.environ, **environ, "PYTHONPATH": str(project), "ENCRYPTION_KEYS": key}
    commands = [[sys.executable, "worker.py"], [sys.executable, "worker.py", "--scheduler"]]
    with (project / "processes.log").open("wb") as log:
        started = [subprocess.Popen(each, cwd=project, env=env, stdout=log, stderr=log) for each in commands]
        yield env
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


@pytest.mark.parametrize("page", [TUTORIAL, WORKFLOWS], ids=["tutorial", "workflows"])
def test_the_code_of_a_page_runs_as_it_stands(project: Path, processes: dict[str, str], page: str) -> None:
    (project / "session.py").write_text(_session(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "session.py"], cwd=project, env=processes, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, f"line numbers are those of the page\n{done.stderr}"


def test_the_tutorials_test_passes(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-c", "setup.cfg", "tests/domains"]
    env = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_tutorial_uses_every_public_function_of_the_engine() -> None:
    owners = (Fleet, JobType, Jobs, Events, Subscription, Context, JobLog, Workflow, Workflows, Node)
    public = {
        name for owner in owners for name in vars(owner) if not name.startswith("_") and callable(getattr(owner, name))
    }
    used = {word for page in (TUTORIAL, WORKFLOWS) for _, code in BLOCK.findall(page) for word in _names(code)}
    told = set(re.findall(r"`(?:[a-z.]+\.)?(\w+)", TUTORIAL))
    assert public - used - told == set()
    assert {name for name in engine.__all__ if name[0].islower()} - used == set()


def test_the_tests_that_security_names_exist() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    named = [entry for entry in re.findall(r"`([^`]*?test_[^`]+)`", page) if not entry.endswith("/")]
    assert len(named) > 50
    file, missing = "", []
    for entry in named:
        path, _, test = entry.rpartition(":")
        file = path or file
        source = ROOT / "tests" / file
        if not source.is_file() or f"def {test.strip()}(" not in source.read_text(encoding="utf-8"):
            missing.append(f"{file}: {test.strip()}")
    assert missing == []


def _session(page: str) -> str:
    """The blocks that are no files, each on its own lines of the page."""
    lines = [""] * page.count("\n")
    for match in BLOCK.finditer(page):
        if not match[1]:
            start = page.count("\n", 0, match.start(2))
            code = match[2].splitlines()
            lines[start : start + len(code)] = code
    return "\n".join(lines)


def _names(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _exists(target: Path) -> bool:
    return target.resolve().exists()
