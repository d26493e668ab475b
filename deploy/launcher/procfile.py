"""Reading Procfile: the one list of processes, the same here, on Heroku and in the compose files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from deploy.launcher.errors import CannotStart

_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+):\s*(?P<command>.+)")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))")


def read(path: Path) -> dict[str, str]:
    """Command line by process name, in the order of the file. Raises CannotStart for a line that is neither."""
    processes: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise CannotStart(f"{path}, line {number}: write it as NAME: COMMAND")
        processes[match["name"]] = match["command"]
    return processes


def words_of(command: str, environment: Mapping[str, str]) -> list[str]:
    """The words of a command line with its $VARIABLES put in; unset ones become empty, as in a shell."""

    def value(match: re.Match[str]) -> str:
        return environment.get(match["braced"] or match["plain"], "")

    return [_VARIABLE.sub(value, word) for word in shlex.split(command)]
