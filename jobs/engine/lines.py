"""Lines of output: put together from the pieces that were written, and made plain for people to read."""

from __future__ import annotations

import codecs
import re
from typing import Any, Literal

from jobs.engine.log_redaction import redact, scrub

Stream = Literal["stdout", "stderr", "log"]
LONGEST_LINE = 4096
"""Bytes of a line that are kept."""
_decoder = codecs.getincrementaldecoder("utf-8")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Part:
    """The beginning of a line whose end has not come yet."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = b""

    def add(self, data: bytes) -> list[bytes]:
        """The lines that this piece completes."""
        first, *lines = data.split(b"\n")
        self._hold(first)
        if not lines:
            return []
        lines.insert(0, self.kept)
        self.kept = b""
        self._hold(lines.pop())
        return lines

    def rest(self) -> list[bytes]:
        """The line without an end."""
        return [self.kept] if self.kept else []

    def drop(self) -> int:
        """Forget it; returns how many bytes it had."""
        size, self.kept = len(self.kept), b""
        return size

    def _hold(self, data: bytes) -> None:
        self.kept += data
        if len(self.kept) > LONGEST_LINE:
            self.kept = bounded(self.kept)


def bounded(line: bytes) -> bytes:
    """What a carriage return left of a line, with one byte more than is shown, so that it shows that it was cut."""
    return line.rstrip(b"\r").rpartition(b"\r")[2][: LONGEST_LINE + 1]


def plain(data: bytes) -> str:
    """A line as text: what a terminal would show last of it, without escapes, controls and credentials, cut."""
    if b"\r" in data:
        data = data.rstrip(b"\r").rpartition(b"\r")[2]
    cut = len(data) > LONGEST_LINE
    text = _decoder("backslashreplace").decode(data[:LONGEST_LINE], final=not cut)
    return scrub(_shown(text)) + ("… (cut)" if cut else "")


def _shown(text: str) -> str:
    return text if text.isprintable() else _CONTROLS.sub(_visible, _ESCAPES.sub("", text))


def _visible(control: re.Match[str]) -> str:
    return control[0].encode("unicode_escape").decode("ascii")


def made(stream: Stream, raw: Any) -> tuple[str, dict[str, Any] | None]:
    """The text and values of a line as they are kept."""
    if stream != "log":
        return plain(raw), None
    event, values = raw
    clean = {name: _shown(value) if isinstance(value, str) else value for name, value in list(values.items())[:20]}
    kept = redact(clean)
    if len(str(kept)) > LONGEST_LINE:
        kept = {name: value if isinstance(value, int | float) else str(value)[:200] for name, value in kept.items()}
    return plain(event.encode("utf-8", "backslashreplace")), kept or None
