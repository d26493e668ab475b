"""The Python of the smaller pages runs as it stands."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.adapters.database import migrate
from jobs.engine.testing import Kit
from jobs.settings import Settings
from tests.conftest import ROOT

FILES = re.compile(r"^```python +(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def written(page: str, folder: Path) -> list[Path]:
    """The files that a page shows, in a folder."""
    paths = []
    for name, code in FILES.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        paths.append(path)
    return paths


def python(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **environ}
    return subprocess.run([sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=180)


def test_the_middleware_of_the_page_carries_the_language(tmp_path: Path, environ: dict[str, str]) -> None:
    written("middleware.md", tmp_path)
    code = """
from acme.locale import Locale, language
from jobs.engine import Context, Payload, connect, job
from jobs.engine.envelope import decode
from jobs.settings import Settings

class Nothing(Payload):
    pass

@job("texts.greet")
def greet(payload: Nothing, context: Context) -> str:
    return language.get()

fleet = connect(Settings.from_env()).discover()
language.set("fr")
(new,) = fleet.client.prepare(greet, [Nothing()])
language.set("en")
carried = decode(new.data).args[2]["carried"]
context = Context("", "", greet.name, 1, 0, "", "", fleet.settings, None, carried=carried)
assert fleet.middleware.run(greet, Nothing(), context) == "fr"
assert language.get() == "en"
"""
    done = python(tmp_path, "-c", code, **environ, JOB_MIDDLEWARE="acme.locale:Locale")
    assert done.returncode == 0, done.stderr


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    written("testing.md", tmp_path)
    done = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_orders.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_the_job_of_the_idempotency_page_moves_money_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("idempotency.md", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    transfers = importlib.import_module("bank.transfers")
    migrate(settings)
    with Kit(settings) as kit:
        with kit.database.begin() as session:
            transfers.ACCOUNTS.create(session.connection())
            for _ in range(2):
                transfers.open_account(session, "a1")
        job = transfers.book.enqueue({"account": "a1", "cents": 700})
        kit.drain(check=True)
        first = kit.jobs.get(job.id).result
        assert (first, transfers.orders) == ({"balance": 700, "reference": "ref-1"}, {f"{job.id}:tell-the-bank": 700})
        assert kit.run_again(job.id).result == first
        with kit.database.begin() as session:
            transfers.open_account(session, "a1")
        assert kit.run(transfers.book, {"account": "a1", "cents": 5})["balance"] == 705
