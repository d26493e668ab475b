"""What one run prints and logs, as lines: cut, free of credentials and control characters, capped, sent in batches."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from jobs.engine.lines import LONGEST_LINE, Part, Stream, bounded, made

STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
Send = Callable[[list[str]], None]
Echo = Callable[[Stream, str], None]

FIRST_LINES, FIRST_BYTES = 900, 224 * 1024
"""What is kept from the beginning of a run, live; then come only the newest, with the run's end."""
LAST_LINES, LAST_BYTES = 100, 32 * 1024
MOST_LINES = FIRST_LINES + LAST_LINES + 2
"""Of a job: as many as a run has, with the two that tell what was left out."""
BATCH_LINES, BATCH_BYTES = 100, 32 * 1024
AT_ONCE = 3
"""Batches that are sent without waiting; after that one each `PAUSE` seconds."""
PAUSE = 0.1
LEVELS: Mapping[Stream, str] = {"stdout": "info", "stderr": "warning"}


class Held(NamedTuple):
    """What an output holds: numbers, the beginnings of lines (stdout's, stderr's), lines that wait, the newest.

    `first` is how many lines were sent, `lines` and `size` (bytes) what was kept so far, `left_out` lines and bytes.
    `staged` is a piece of that `stream` of which nothing is among the lines yet.
    """

    first: int
    lines: int
    size: int
    left_out: tuple[int, int]
    parts: tuple[bytes, bytes]
    ready: list[str]
    newest: list[str]
    stream: Stream = "stdout"
    staged: bytes = b""


class Spool(Protocol):
    """Where what an output holds outlives its process; see `jobs.engine.worker.spool`."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing counts."""

    def add(self, line: str) -> None:
        """One line more waits."""

    def sent(self) -> None:
        """Those that waited are sent."""

    def add_newest(self, line: str) -> None:
        """One line more is among the newest."""

    def drop_newest(self, line: str) -> None:
        """The oldest of them is no longer."""

    def save(self, held: Held) -> None:
        """All that was added counts."""

    def pull(self, fd: int, held: Held, stream: Stream) -> bytes:
        """What lies in a pipe."""

    def clear(self) -> None:
        """All is told."""


class Output:
    """Collects one run's lines; any thread may write.

    `send` gets up to 100 lines at a time, each a JSON object as text; `echo` each line of stdout and stderr as it is
    kept. `attempt` stands in every line. What is held back stands in the `spool` too. Once something is `waiting`,
    somebody has to `flush` when `wait` is over; whether somebody will is noted in `arranged`.
    """

    def __init__(self, send: Send, attempt: int, echo: Echo | None = None, spool: Spool | None = None) -> None:
        self._send, self._attempt, self._echo, self._spool = send, attempt, echo, spool
        self.arranged = False
        self._lock = threading.RLock()
        self._parts: dict[Stream, Part] = {}
        self._ready: list[str] = []
        self._lines, self._bytes, self._first = 0, 0, 0
        self._newest: deque[tuple[str, int]] = deque()
        self._fresh: deque[tuple[float, Stream, str, Any, int]] = deque()
        self._newest_bytes = 0
        self._left_out = (0, 0)
        self._sent, self._sent_at = 0, 0.0

    def take_over(self, held: Held) -> None:
        """Go on where another output's process ended; `send` gets all that it held, also what it was just sending."""
        self._lines, self._bytes, self._first, self._left_out = held.lines, held.size, held.first, held.left_out
        self._ready += held.ready
        self._newest += ((line, _size_of(line)) for line in held.newest)
        self._newest_bytes = sum(size for _, size in self._newest)
        for stream, part in zip(STREAMS, held.parts, strict=True):
            self._parts.setdefault(stream, Part()).add(part)
        self.write(held.stream, held.staged)

    @property
    def capped(self) -> bool:
        """Whether so much was written that only the newest lines are still kept."""
        return self._lines >= FIRST_LINES or self._bytes >= FIRST_BYTES

    def write(self, stream: Stream, data: bytes) -> None:
        """Bytes as they were written, in any pieces; a line is kept once it is complete."""
        with self._lock:
            part = self._parts.setdefault(stream, Part())
            surplus = data.count(b"\n") - LAST_LINES if self.capped else 0
            if surplus > 0:
                newest = b"\n".join(data.rsplit(b"\n", LAST_LINES + 1)[1:])
                self._leave_out(surplus, part.drop() + len(data) - len(newest))
                data = newest
            for line in part.add(data):
                short = line if len(line) <= LONGEST_LINE else bounded(line)
                self._add(stream, LEVELS[stream], short, len(short))
            self._pass_on()

    def pull(self, stream: Stream, fd: int, piece: Callable[[int], bytes]) -> None:
        """What lies in a pipe, by `piece` where it needs to stand nowhere else meanwhile."""
        with self._lock:
            self.write(stream, piece(fd) if self._spool is None else self._spool.pull(fd, self._held(), stream))

    def log(self, level: str, event: str, values: Mapping[str, Any]) -> None:
        """A log line: what happened, and named values."""
        with self._lock:
            self._add("log", level, (event, dict(values)), len(event) + 20 * len(values))
            self._pass_on()

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
            self._flush()
            self._save()

    def close(self) -> None:
        """The run has ended: unfinished lines, and those that the cap held back, go out."""
        with self._lock:
            spool, self._spool = self._spool, None
            for stream in STREAMS:
                for rest in self._parts[stream].rest() if stream in self._parts else ():
                    self._add(stream, LEVELS[stream], rest, len(rest))
            self._encode_fresh()
            if self._left_out[0]:
                lines, size = self._left_out
                self._say(f"output capped: {lines} lines ({size} bytes) are left out here")
            for line, _ in self._newest:
                shown = json.loads(line)
                self._keep(line, shown["stream"], shown["text"])
            self._newest.clear()
            self._flush()
            if spool is not None:
                spool.clear()

    def _add(self, stream: Stream, level: str, raw: Any, size: int) -> None:
        if self.capped:
            self._fresh.append((time.time(), stream, level, raw, size))
            self._newest_bytes += size
            while len(self._newest) + len(self._fresh) > LAST_LINES or self._newest_bytes > LAST_BYTES:
                self._drop_oldest()
            return
        text, values = made(stream, raw)
        self._keep(self._encoded(time.time(), stream, level, text, values), stream, text)
        if self.capped:
            self._say("output capped: from here on the newest lines are kept, until the end")

    def _drop_oldest(self) -> None:
        if not self._newest:
            size = self._fresh.popleft()[-1]
        else:
            line, size = self._newest.popleft()
            if self._spool is not None:
                self._spool.drop_newest(line)
        self._newest_bytes -= size
        self._leave_out(1, size)

    def _leave_out(self, lines: int, size: int) -> None:
        self._left_out = (self._left_out[0] + lines, self._left_out[1] + size)

    def _say(self, text: str) -> None:
        self._keep(self._encoded(time.time(), "log", "warning", text), "log", text)

    def _keep(self, line: str, stream: Stream, text: str) -> None:
        self._ready.append(line)
        self._lines += 1
        self._bytes += len(line)
        if self._spool is not None:
            self._spool.add(line)
        if self._echo is not None and stream != "log":
            self._echo(stream, text)

    def _encoded(
        self, at: float, stream: Stream, level: str, text: str, values: Mapping[str, Any] | None = None
    ) -> str:
        moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"at": moment, "stream": stream, "level": level, "text": text, "attempt": self._attempt}
        return json.dumps({**line, "values": values} if values else line, separators=(",", ":"))

    def _encode_fresh(self) -> None:
        while self._fresh:
            at, stream, level, raw, size = self._fresh.popleft()
            line = self._encoded(at, stream, level, *made(stream, raw))
            self._newest.append((line, size))
            if self._spool is not None:
                self._spool.add_newest(line)

    def _pass_on(self) -> None:
        """Send what may go already; the rest outlives this process."""
        self._encode_fresh()
        if self._ready and (self._sent < AT_ONCE or self.wait() == 0):
            self._flush()
        self._save()

    def _flush(self) -> None:
        while self._ready:
            count = size = 0
            for line in self._ready[:BATCH_LINES]:
                count, size = count + 1, size + len(line)
                if size >= BATCH_BYTES:
                    break
            batch, self._ready = self._ready[:count], self._ready[count:]
            self._first += count
            self._sent, self._sent_at = self._sent + 1, time.monotonic()
            self._send(batch)

    def _save(self) -> None:
        """Nothing needs to stand in the spool, and nothing stands there, while all is sent at once."""
        spool = self._spool
        if spool is None:
            return
        if not self._ready:
            spool.sent()
        held = self._held()
        if self._ready or self._newest or any(held.parts) or not spool.is_empty:
            spool.save(held)

    def _held(self) -> Held:
        """The numbers; the lines are in the spool already."""
        parts = [self._parts[stream].kept if stream in self._parts else b"" for stream in STREAMS]
        return Held(self._first, self._lines, self._bytes, self._left_out, (parts[0], parts[1]), [], [])


def _size_of(line: str) -> int:
    """About how many bytes were written for a line. Raises ValueError, TypeError, LookupError for what is none."""
    shown = json.loads(line)
    if not isinstance(shown["text"], str) or not isinstance(shown["stream"], str):
        raise ValueError("not a line of output")
    return min(len(shown["text"].encode()), LONGEST_LINE + 1) + 20 * len(shown.get("values", ()))
