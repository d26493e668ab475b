"""What the environment may say, and what ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.settings import DEVELOPMENT_SECRET, InvalidSettings, Settings
from tests.conftest import ROOT


@pytest.mark.parametrize("environ", [{}, {"SECRET_KEY": ""}, {"SECRET_KEY": DEVELOPMENT_SECRET}])
def test_production_needs_a_secret_of_its_own(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="SECRET_KEY"):
        Settings.from_env({**environ, "ENVIRONMENT": "production"})
    assert Settings.from_env({"ENVIRONMENT": "production", "SECRET_KEY": "of-this-deployment-alone"}).production


WEB = "-m gunicorn -c deploy/gunicorn.conf.py webapp"
PATTERN, EMPTY = "RQ_KEY_PREFIX: String should match pattern", "RQ_KEY_PREFIX: it is empty"


@pytest.mark.parametrize(
    ("command", "prefix", "reason"),
    [
        ("worker.py --check", "a b", PATTERN),
        ("worker.py --check", "", EMPTY),
        (WEB, "a b", PATTERN),
        (WEB, "", EMPTY),
        ("-m deploy.launcher --once --data {data}", "a b", PATTERN),
        ("-m deploy.launcher --once --data {data}", "", "Invalid RQ_KEY_PREFIX ''"),
    ],
)
def test_a_prefix_that_rq_itself_refuses_is_named_by_every_process(
    tmp_path: Path, command: str, prefix: str, reason: str
) -> None:
    """RQ reads it when it is imported, and raises: the settings have to be read before that."""
    ended = subprocess.run(
        [sys.executable, *command.format(data=tmp_path).split()],
        cwd=ROOT,
        env={**os.environ, "RQ_KEY_PREFIX": prefix},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert reason in said
    assert "Traceback" not in said
