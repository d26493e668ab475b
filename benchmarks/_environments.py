"""Environments for what is measured: the peers', from the pins beside their scripts, and ours as production has it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"
NODE, OURS = "node", "rq-fleet"
LOCK = PEERS.parents[1] / "requirements" / "base.lock"


def default_folder() -> Path:
    """Where environments are kept: `rq-fleet-benchmarks` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rq-fleet-benchmarks"


def prepare(name: str, folder: Path) -> Path:
    """The environment `name` below `folder`, made unless it is there with the same pins.

    Returns a venv's folder, or the one that holds Node's script and node_modules. Raises RuntimeError with the
    installer's last words.
    """
    others = {NODE: PEERS / NODE / "package.json", OURS: LOCK}
    pins = others.get(name) or PEERS / "requirements" / f"{name}.txt"
    place, stamp = folder / name, folder / name / "pins.sha256"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == digest):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _npm(pins, place) if name == NODE else _venv(pins, place)
        stamp.write_text(digest)
    if name == NODE:
        shutil.copy(PEERS / NODE / "bullmq.mjs", place)
    return place


def available(name: str) -> bool:
    """Whether this machine has what the environment needs before it can be made."""
    return name != NODE or all(shutil.which(tool) for tool in ("node", "npm"))


def _venv(pins: Path, place: Path) -> None:
    _run(sys.executable, "-m", "venv", str(place))
    _run(str(place / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "-q", "-r", str(pins))


def _npm(pins: Path, place: Path) -> None:
    shutil.copy(pins, place)
    _run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", cwd=place)


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
