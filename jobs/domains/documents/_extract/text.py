"""Plain text in any common encoding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jobs.domains.documents._extract.decode import blocks
from jobs.domains.documents._extract.model import Limits, Reading, Section, Step


def read(path: Path, limits: Limits) -> Reading:
    """Read a text file in blocks."""
    return Reading(None, _steps(path))


def _steps(path: Path) -> Iterator[Step]:
    for done, block in blocks(path):
        yield Step(done, Section(block))
