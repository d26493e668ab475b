"""Messages between a worker and its children: a JSON header and a blob, each with its length in front."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

Header = dict[str, Any]
_LENGTHS = struct.Struct("!II")
LARGEST = 64 * 1024 * 1024
READ = 256 * 1024


def pack(header: Header, blob: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(blob)) + text + blob


class Frames:
    """Puts messages together from the pieces that a socket gives. Raises ValueError for what can't be a message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[tuple[Header, bytes]]:
        """Every message that is complete with this piece."""
        self._buffer += piece
        while len(self._buffer) >= _LENGTHS.size:
            header_size, blob_size = _LENGTHS.unpack_from(self._buffer)
            if header_size + blob_size > LARGEST:
                raise ValueError("a message of the child is too large")
            end = _LENGTHS.size + header_size + blob_size
            if len(self._buffer) < end:
                return
            header = bytes(self._buffer[_LENGTHS.size : _LENGTHS.size + header_size])
            blob = bytes(self._buffer[_LENGTHS.size + header_size : end])
            del self._buffer[:end]
            yield json.loads(header), blob


def receive(sock: socket.socket, frames: Frames) -> Iterator[tuple[Header, bytes]]:
    """Wait for bytes and give the messages they complete. Raises EOFError when the other side is gone."""
    piece = sock.recv(READ)
    if not piece:
        raise EOFError
    return frames.feed(piece)
