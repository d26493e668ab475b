"""What one run prints and logs, as lines: cut, free of credentials and control characters, capped, sent in batches."""

from __future__ import annotations

import codecs
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from jobs.engine.log_redaction import redact, scrub

Stream = Literal["stdout", "stderr", "log"]
Send = Callable[[list[str]], None]
Echo = Callable[[Stream, str], None]

LONGEST_LINE = 4096
"""Bytes of a line that are kept."""
FIRST_LINES, FIRST_BYTES = 900, 224 * 1024
"""What is kept from the beginning of a run, live; then come only the newest, with the run's end."""
LAST_LINES, LAST_BYTES = 100, 32 * 1024
MOST_LINES = FIRST_LINES + LAST_LINES
BATCH_LINES, BATCH_BYTES = 100, 32 * 1024
AT_ONCE = 3
"""Batches that are sent without waiting; after that one each `PAUSE` seconds."""
PAUSE = 0.1
LEVELS: Mapping[Stream, str] = {"stdout": "info", "stderr": "warning"}
_decoder = codecs.getincrementaldecoder("utf-8")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Output:
    """Collects one run's lines; any thread may write.

    `send` gets up to 100 lines at a time, each a JSON object as text; `echo` each line of stdout and stderr as it is
    kept. `attempt` stands in every line. Once something is `waiting`, somebody has to `flush` when `wait` is over;
    whether somebody will is noted in `arranged`.
    """

    def __init__(self, send: Send, attempt: int, echo: Echo | None = None) -> None:
        self._send, self._attempt, self._echo = send, attempt, echo
        self.arranged = False
        self._lock = threading.RLock()
        self._parts: dict[Stream, _Part] = {}
        self._ready: list[str] = []
        self._lines, self._bytes = 0, 0
        self._newest: deque[tuple[float, Stream, str, Any, int]] = deque()
        self._newest_bytes = 0
        self._left_out = (0, 0)
        self._sent, self._sent_at = 0, 0.0

    @property
    def capped(self) -> bool:
        """Whether so much was written that only the newest lines are still kept."""
        return self._lines >= FIRST_LINES or self._bytes >= FIRST_BYTES

    def write(self, stream: Stream, data: bytes) -> None:
        """Bytes as they were written, in any pieces; a line is kept once it is complete."""
        with self._lock:
            part = self._parts.setdefault(stream, _Part())
            surplus = data.count(b"\n") - LAST_LINES if self.capped else 0
            if surplus > 0:
                newest = b"\n".join(data.rsplit(b"\n", LAST_LINES + 1)[1:])
                self._leave_out(surplus, part.drop() + len(data) - len(newest))
                data = newest
            for line in part.add(data):
                short = line if len(line) <= LONGEST_LINE else _bounded(line)
                self._add(stream, LEVELS[stream], short, len(short))

    def log(self, level: str, event: str, values: Mapping[str, Any]) -> None:
        """A log line: what happened, and named values."""
        with self._lock:
            self._add("log", level, (event, dict(values)), len(event) + 20 * len(values))

    @property
    def waiting(self) -> bool:
        """Whether lines are held back."""
        return bool(self._ready)

    def wait(self) -> float | None:
        """Seconds until lines that are held back may go, None when there are none."""
        if not self._ready:
            return None
        return max(0.0, self._sent_at + PAUSE - time.monotonic())

    def flush(self) -> None:
        """Send what is held back."""
        with self._lock:
            while self._ready:
                batch: list[str] = []
                size = 0
                while self._ready and len(batch) < BATCH_LINES and size < BATCH_BYTES:
                    batch.append(self._ready.pop(0))
                    size += len(batch[-1])
                self._sent, self._sent_at = self._sent + 1, time.monotonic()
                self._send(batch)

    def close(self) -> None:
        """The run has ended: unfinished lines, and those that the cap held back, go out."""
        with self._lock:
            for stream, part in self._parts.items():
                for line in part.rest():
                    self._add(stream, LEVELS[stream], line, len(line))
            if self._left_out[0]:
                lines, size = self._left_out
                self._keep(
                    time.time(), "log", "warning", f"output capped: {lines} lines ({size} bytes) are left out here"
                )
            for at, stream, level, raw, _ in self._newest:
                self._keep(at, stream, level, *_made(stream, raw))
            self._newest.clear()
            self.flush()

    def _add(self, stream: Stream, level: str, raw: Any, size: int) -> None:
        if not self.capped:
            self._keep(time.time(), stream, level, *_made(stream, raw))
            if self.capped:
                self._keep(
                    time.time(),
                    "log",
                    "warning",
                    "output capped: from here on the newest lines are kept, until the end",
                )
            if self._sent < AT_ONCE or self.wait() == 0:
                self.flush()
            return
        self._newest.append((time.time(), stream, level, raw, size))
        self._newest_bytes += size
        while len(self._newest) > LAST_LINES or self._newest_bytes > LAST_BYTES:
            *_, dropped = self._newest.popleft()
            self._newest_bytes -= dropped
            self._leave_out(1, dropped)

    def _leave_out(self, lines: int, size: int) -> None:
        self._left_out = (self._left_out[0] + lines, self._left_out[1] + size)

    def _keep(self, at: float, stream: Stream, level: str, text: str, values: Mapping[str, Any] | None = None) -> None:
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"at": moment, "stream": stream, "level": level, "text": text, "attempt": self._attempt}
        encoded = json.dumps({**line, "values": values} if values else line, separators=(",", ":"))
        self._ready.append(encoded)
        self._lines += 1
        self._bytes += len(encoded)
        if self._echo is not None and stream != "log":
            self._echo(stream, text)


class _Part:
    """The beginning of a line whose end has not come yet."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = b""

    def add(self, data: bytes) -> list[bytes]:
        """The lines that this piece completes."""
        first, *lines = data.split(b"\n")
        self._hold(first)
        if not lines:
            return []
        lines.insert(0, self._kept)
        self._kept = b""
        self._hold(lines.pop())
        return lines

    def rest(self) -> list[bytes]:
        """The line without an end."""
        return [self._kept] if self._kept else []

    def drop(self) -> int:
        """Forget it; returns how many bytes it had."""
        size, self._kept = len(self._kept), b""
        return size

    def _hold(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > LONGEST_LINE:
            self._kept = _bounded(self._kept)


def _bounded(line: bytes) -> bytes:
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


def _made(stream: Stream, raw: Any) -> tuple[str, dict[str, Any] | None]:
    """The text and values of a line as they are kept."""
    if stream != "log":
        return plain(raw), None
    event, values = raw
    clean = {name: _shown(value) if isinstance(value, str) else value for name, value in list(values.items())[:20]}
    kept = redact(clean)
    if len(str(kept)) > LONGEST_LINE:
        kept = {name: value if isinstance(value, int | float) else str(value)[:200] for name, value in kept.items()}
    return plain(event.encode("utf-8", "backslashreplace")), kept or None
