"""The commands of the alerts' runbooks do what these say, as they stand there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jobs.adapters import database
from jobs.engine import Fleet
from jobs.settings import Settings
from tests.conftest import ROOT
from tests.integration.test_runbooks import BLOCK, run
from tests.webapp.live_server import serving
from webapp import create_app


@pytest.fixture
def environ(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    database.migrate(Settings.from_env(environ))
    (tmp_path / "worker.py").symlink_to(ROOT / "worker.py")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return environ


@pytest.fixture
def port(settings: Settings) -> Iterator[str]:
    with serving(create_app(settings)) as base:
        yield str(urlsplit(base).port)


def blocks(name: str) -> list[str]:
    return BLOCK.findall((ROOT / f"docs/runbooks/{name}.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["workers", "redis"])
def test_the_checkup_names_what_is_wrong(environ: dict[str, str], tmp_path: Path, fleet: Fleet, name: str) -> None:
    (check,) = blocks(name)
    shown = run(check, environ, tmp_path)
    assert "no living worker listens to critical, default, low" in shown
    assert "ok       Redis: " in shown


def test_backlog(environ: dict[str, str], tmp_path: Path, fleet: Fleet, port: str) -> None:
    look, hold = blocks("backlog")
    shown = run(look, environ | {"PORT": port}, tmp_path)
    assert 'fleet_jobs{queue="default",state="waiting"} 0.0' in shown
    assert "fleet_desired_workers 0.0" in shown
    assert run(hold, environ, tmp_path) == "paused: queue:low\nnothing is paused\n"


def test_breakers(environ: dict[str, str], tmp_path: Path, fleet: Fleet) -> None:
    fleet.breakers.open("chat", "openai", timedelta(minutes=5), "ProviderFailed")
    look, close = blocks("breakers")
    assert "the breaker chat/openai is open: ProviderFailed" in run(look, environ, tmp_path)
    assert run(close, environ, tmp_path) == "closed chat/openai\n"
    assert fleet.breakers.all() == []


def test_ledger(environ: dict[str, str], tmp_path: Path, fleet: Fleet, port: str) -> None:
    look, moves = blocks("ledger")
    assert "ok       database: sqlite answers" in run(look, environ, tmp_path)
    assert "fleet_ledger_rows_behind 0.0" in run(moves, environ | {"PORT": port}, tmp_path)
