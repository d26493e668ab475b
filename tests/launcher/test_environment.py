"""What the processes find in their environment."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from deploy.launcher import environment, procfile
from deploy.launcher.errors import CannotStart
from deploy.launcher.instance import Instance
from jobs.settings import DEVELOPMENT_SECRET, Settings
from tests.conftest import ROOT
from webapp.tokens import TokenVerifier


def test_secrets_are_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    first = environment.environment_of({}, data=tmp_path, port=8000)
    second = environment.environment_of({}, data=tmp_path, port=8000)
    names = ("SECRET_KEY", "JWT_SECRET", "ENCRYPTION_KEYS")
    assert [first[name] for name in names] == [second[name] for name in names]
    assert (tmp_path / "dev.env").stat().st_mode & 0o777 == 0o600
    assert Fernet(first["ENCRYPTION_KEYS"])
    assert Settings.from_env(first).secret_key != DEVELOPMENT_SECRET


def test_what_the_person_set_wins_over_the_embedded_defaults(tmp_path: Path) -> None:
    given = {"DATABASE_URL": "postgresql://db/fleet", "SECRET_KEY": "x" * 32, "PORT": "1", "STORAGE_URL": ""}
    made = environment.environment_of(given, data=tmp_path, port=8001)
    assert (made["DATABASE_URL"], made["SECRET_KEY"], made["PORT"]) == ("postgresql://db/fleet", "x" * 32, "8001")
    assert made["STORAGE_URL"] == f"file://{tmp_path / 'storage'}"


def test_the_documented_way_to_a_token_gives_a_good_one(tmp_path: Path) -> None:
    """All of the snippet but its last line, which asks the running application."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    snippet = re.search(r"```sh\n(set -a; \. var/dev\.env.*?)^curl .*?```", text, re.DOTALL | re.MULTILINE)
    assert snippet is not None
    (tmp_path / "var").mkdir()
    made = environment.environment_of({}, data=tmp_path / "var", port=8000)
    environment.write_private(tmp_path / "var/run.env", {"PORT": made["PORT"], "DATABASE_URL": made["DATABASE_URL"]})
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = ["sh", "-euc", f'{snippet[1]}\nprintf %s "$TOKEN"']
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    principal = TokenVerifier(Settings.from_env(made)).verify(done.stdout)
    assert (principal.tenant, principal.may("documents:read", "documents:write", "jobs:read", "jobs:write")) == (
        "dev",
        True,
    )


def test_a_busy_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = environment.free_port_from(port)
        assert found is not None and found > port


def test_a_second_launcher_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    first = Instance(tmp_path)
    with pytest.raises(CannotStart, match=r"Another bin/run \(process \d+\) uses"):
        Instance(tmp_path)
    first.close()
    Instance(tmp_path).close()


def test_a_procfile_gives_names_and_commands_in_order(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("# note\nweb: serve --port $PORT 'a b'\n\nworker: work ${NAME}s $NOTHING\n")
    commands = procfile.read(tmp_path / "Procfile")
    assert list(commands) == ["web", "worker"]
    assert procfile.words_of(commands["web"], {"PORT": "8000"}) == ["serve", "--port", "8000", "a b"]
    assert procfile.words_of(commands["worker"], {"NAME": "job"}) == ["work", "jobs", ""]


def test_a_procfile_line_without_a_command_is_refused_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: serve\nworker\n")
    with pytest.raises(CannotStart, match="line 2"):
        procfile.read(tmp_path / "Procfile")
