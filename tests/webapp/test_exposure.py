"""Where the web server listens, and what it refuses to show to other machines."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.exposure import Address, host_of, refusal
from jobs.settings import DEVELOPMENT_SECRET, Settings
from tests.conftest import free_port, wait_until

OWN = "a-secret-of-its-own"
HERE, EVERYWHERE = ("127.0.0.1", 8000), ("0.0.0.0", 8000)


@pytest.mark.parametrize(
    ("environment", "host"), [("development", "127.0.0.1"), ("test", "127.0.0.1"), ("production", "0.0.0.0")]
)
def test_only_production_listens_on_every_address(environment: str, host: str) -> None:
    assert host_of(Settings(environment=environment, secret_key=OWN)) == host  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "secret", "address", "may"),
    [
        ("production", OWN, EVERYWHERE, True),
        ("development", DEVELOPMENT_SECRET, HERE, True),
        ("development", DEVELOPMENT_SECRET, ("::1", 8000, 0, 0), True),
        ("development", DEVELOPMENT_SECRET, "/run/web.sock", True),
        ("development", DEVELOPMENT_SECRET, EVERYWHERE, False),
        ("development", DEVELOPMENT_SECRET, ("web", 8000), False),
        ("development", OWN, EVERYWHERE, True),
        ("test", DEVELOPMENT_SECRET, HERE, False),
        ("test", OWN, HERE, True),
        ("test", OWN, EVERYWHERE, False),
    ],
)
def test_what_signs_anybody_in_is_for_this_machine_alone(
    environment: str, secret: str, address: Address, may: bool
) -> None:
    settings = Settings(environment=environment, secret_key=secret)  # type: ignore[arg-type]
    assert (refusal(settings, [HERE, address]) is None) == may


@pytest.mark.parametrize(("extra", "bind"), [({"SECRET_KEY": ""}, ""), ({}, "--bind=0.0.0.0:{port}")], ids=str)
def test_the_server_does_not_start_there(
    spawn: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, extra: dict[str, str], bind: str
) -> None:
    port = str(free_port())
    options = ["-c", "deploy/gunicorn.conf.py", *filter(None, [bind.format(port=port)]), "webapp:create_app()"]
    server = spawn("-m", "gunicorn", *options, PORT=port, WEB_CONCURRENCY="1", **extra)
    wait_until(lambda: server.poll() is not None)
    assert server.returncode != 0
    assert "this machine only" in (log := (tmp_path / "process-0.log").read_text()) or "SECRET_KEY" in log
