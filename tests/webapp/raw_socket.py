"""A WebSocket client that keeps every byte: what a server sends after the handshake is frames and nothing else."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

TEXT, CLOSE = 0x1, 0x8
HEAD_END = b"\r\n\r\n"


class RawSocket:
    """A connection to `/api/ws` of a server on this machine."""

    def __init__(self, port: int, token: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /api/ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        head += f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        self._sock.sendall(head.encode())
        answer = b""
        while HEAD_END not in answer:
            answer += self._sock.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer

    def send(self, *frames: bytes) -> None:
        """Put frames on the wire, all at once."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._sock.sendall(b"".join(frames))

    def rest(self) -> bytes:
        """All bytes that come until the server ends the connection."""
        found = bytearray()
        with self._sock, suppress(ConnectionResetError):
            while piece := self._sock.recv(65536):
                found += piece
        return bytes(found)


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame of a client, with a mask that changes nothing."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else struct.pack("!BH", 0x80 | 126, len(payload))
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


def frames_of(data: bytes) -> Iterator[int]:
    """The opcodes of a server's frames. Raises AssertionError for bytes that are none."""
    while data:
        assert data[0] in (0x81, 0x88, 0x89, 0x8A), f"no frame: {data[:80]!r}"
        assert len(data) > 1 and data[1] < 127, f"no frame: {data[:80]!r}"
        size, start = (int.from_bytes(data[2:4]), 4) if data[1] == 126 else (data[1], 2)
        assert len(data) >= start + size, f"a part of a frame: {data[:80]!r}"
        yield data[0] & 0x0F
        data = data[start + size :]
