"""Messages between a worker and its children: a JSON header and a blob, each with its length in front.

A job waits for the one message that hands it over, so that one has no header to be written and read.
"""

from __future__ import annotations

import json
import marshal
import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.engine.execute import Run
from jobs.engine.outcome import DECIDED_BY_CHILDREN, Outcome, of_message

Header = dict[str, Any]
BATCH: Header = {"op": "batch"}
_LENGTHS = struct.Struct("!II")
_ENDED = struct.Struct("<HBBddI")
LARGEST = 64 * 1024 * 1024
READ = 256 * 1024
FINISHED = DECIDED_BY_CHILDREN.index("finished")
NOTHING = Outcome("finished", value="null")


class Ended(NamedTuple):
    """How the run at a place of a batch ended; `begun` and `ended` are epoch seconds."""

    place: int
    outcome: Outcome
    spoiled: bool
    begun: float
    ended: float


def pack(header: Header, blob: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(blob)) + text + blob


def pack_batch(runs: list[Any]) -> bytes:
    """The message that hands runs (the fields of `Run`) to a child. Marshal is for this direction only."""
    blob = marshal.dumps(runs)
    return _LENGTHS.pack(0, len(blob)) + blob


def unpack_batch(blob: bytes) -> list[Run]:
    """The runs of a batch message."""
    return [Run(*each) for each in marshal.loads(blob)]  # noqa: S302  from this child's own worker


def pack_outcome(place: int, outcome: Outcome, spoiled: bool, begun: float, ended: float) -> bytes:
    """An outcome for the page or, with a message around it, for the socket."""
    kind = DECIDED_BY_CHILDREN.index(outcome.kind)
    if kind == FINISHED:
        body = (outcome.value or "null").encode()
    else:
        values = outcome._asdict()
        values["wait"] = None if outcome.wait is None else outcome.wait.total_seconds()
        body = json.dumps(values).encode()
    return _ENDED.pack(place, kind, spoiled, begun, ended, len(body)) + body


def unpack_outcomes(data: bytes) -> Iterator[Ended]:
    """The outcomes in what a child wrote. Raises ValueError, TypeError, KeyError or struct.error for nonsense."""
    at = 0
    while at < len(data):
        place, kind, spoiled, begun, ended, size = _ENDED.unpack_from(data, at)
        at += _ENDED.size + size
        body = data[at - size : at]
        if len(body) < size or not 0 <= begun <= ended < 1e11:
            raise ValueError("a child's outcome makes no sense")
        if body == b"null" and kind == FINISHED:
            outcome = NOTHING
        else:
            outcome = Outcome("finished", body.decode()) if kind == FINISHED else of_message(json.loads(body))
        yield Ended(place, outcome, bool(spoiled), begun, ended)


class Frames:
    """Puts messages together from the pieces that a socket gives. Raises ValueError for what can't be a message."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0

    def feed(self, piece: bytes) -> list[tuple[Header, bytes]]:
        """Every message that is complete with this piece."""
        if self._buffer:
            self._buffer += piece
            if len(self._buffer) < self._needed:
                return []
            piece = bytes(self._buffer)
            self._buffer.clear()
        messages, at, self._needed = [], 0, _LENGTHS.size
        while len(piece) - at >= _LENGTHS.size:
            header_size, blob_size = _LENGTHS.unpack_from(piece, at)
            if header_size + blob_size > LARGEST:
                raise ValueError("a message of the child is too large")
            blob_at = at + _LENGTHS.size + header_size
            end = blob_at + blob_size
            if len(piece) < end:
                self._needed = end - at
                break
            header = json.loads(piece[at + _LENGTHS.size : blob_at]) if header_size else BATCH
            messages.append((header, piece[blob_at:end]))
            at = end
        self._buffer += piece[at:]
        return messages


def receive(sock: socket.socket, frames: Frames) -> list[tuple[Header, bytes]]:
    """Wait for bytes and give the messages they complete. Raises EOFError when the other side is gone."""
    piece = sock.recv(READ)
    if not piece:
        raise EOFError
    return frames.feed(piece)
