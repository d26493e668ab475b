"""The command line of `bin/run`, and the files that it names."""

from __future__ import annotations

import argparse
import glob
from dataclasses import dataclass
from pathlib import Path

DESCRIPTION = "Start the page, the workers and the scheduler here; with files, process them and search them at once."


@dataclass(frozen=True)
class Missing:
    """A name that stands for no file, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Options:
    """What the person asked for; `missing` are the names that stand for no file."""

    files: tuple[Path, ...]
    missing: tuple[Missing, ...]
    once: bool
    verify: bool
    question: str | None
    verbose: bool
    data: Path
    simple: bool = False


def parse(arguments: list[str], *, here: Path, root: Path) -> Options:
    """Read the command line; relative names are meant from the folder `here`."""
    parser = argparse.ArgumentParser(prog="bin/run", description=DESCRIPTION)
    parser.add_argument("files", nargs="*", metavar="FILE", help="a file, folder or pattern (default: docs/samples)")
    parser.add_argument("--once", action="store_true", help="process the files and stop; 0 only when all succeeded")
    parser.add_argument("--verify", action="store_true", help="look at every part of this set-up, start nothing")
    parser.add_argument("--ask", metavar="QUESTION", help="what to search for when the files are processed")
    parser.add_argument("--verbose", action="store_true", help="show what the processes print meanwhile")
    parser.add_argument("--data", metavar="FOLDER", help="where everything is kept (default: var)")
    parser.add_argument("--simple", action="store_true", help="without Redis: jobs run in the web process")
    given = parser.parse_args(arguments)
    files, missing = expand(given.files, here)
    data = here / given.data if given.data else root / "var"
    return Options(
        tuple(files),
        tuple(missing),
        given.once,
        given.verify,
        given.ask,
        given.verbose,
        data.resolve(),
        given.simple,
    )


def expand(names: list[str], here: Path) -> tuple[list[Path], list[Missing]]:
    """The files that `names` stand for, each once, and the names that stand for nothing."""
    files: dict[Path, None] = {}
    missing: list[Missing] = []
    for name in names:
        found = _files_of(name, here)
        files |= dict.fromkeys(found)
        if not found:
            missing.append(Missing(name, _why(here / Path(name).expanduser())))
    return list(files), missing


def _files_of(name: str, here: Path) -> list[Path]:
    path = here / Path(name).expanduser()
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path)))
    if path.is_file():
        return [path]
    matches = (Path(match) for match in glob.iglob(str(path), recursive=True))  # noqa: PTH207  the pattern is absolute
    return sorted(match for match in matches if match.is_file())


def _why(path: Path) -> str:
    if path.is_dir():
        return "the folder holds no files" + (" but hidden ones" if any(path.iterdir()) else "")
    return "it is no regular file" if path.exists() else "there is no such file"


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
