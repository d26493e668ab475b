"""The environment of the processes: what is set already, secrets made once, and defaults under the data folder."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.launcher.errors import CannotStart
from deploy.launcher.plain import plain

FIRST_PORT = 8000
PORTS_TRIED = 100
LAST_PORT = 65535


def environment_of(given: Mapping[str, str], *, data: Path, port: int) -> dict[str, str]:
    """The children's environment but for REDIS_URL; `given` wins over the secrets and defaults of `data`."""
    defaults = {
        "ENVIRONMENT": "development",
        "DATABASE_URL": f"sqlite:///{data / 'rq-fleet.db'}",
        "STORAGE_URL": f"file://{data / 'storage'}",
        "PROMETHEUS_MULTIPROC_DIR": str(data / "metrics"),
        "LOG_FORMAT": "console",
    }
    fixed = {
        "PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "INSTANCE_ID": secrets.token_hex(16),
    }
    return {**defaults, **_secrets(data / "dev.env"), **{k: v for k, v in given.items() if v}, **fixed}


def wanted_port(given: Mapping[str, str]) -> int:
    """The port the person asked for with PORT, or 8000. Raises CannotStart when that is no port."""
    asked = given.get("PORT") or str(FIRST_PORT)
    if not (asked.isascii() and asked.isdecimal() and 1 <= int(asked) <= LAST_PORT):
        raise CannotStart(f"PORT can't be used: {plain(asked)} is no number from 1 to {LAST_PORT}.")
    return int(asked)


def free_port_from(wanted: int) -> int | None:
    """The first port from `wanted` on that nobody listens on, or None when 100 in a row are taken."""
    candidates = range(wanted, min(wanted + PORTS_TRIED, LAST_PORT + 1))
    return next((port for port in candidates if _free(port)), None)


def any_free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, values: Mapping[str, str]) -> None:
    """Write `values` as lines for a shell, readable to this user alone."""
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


def _secrets(path: Path) -> dict[str, str]:
    """The development secrets: made on the first start, the same ever after."""
    if not path.exists():
        made = {
            "SECRET_KEY": secrets.token_hex(32),
            "JWT_SECRET": secrets.token_hex(32),
            "ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        write_private(path, made)
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in lines) if value}


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
