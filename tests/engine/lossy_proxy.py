"""A TCP proxy before Redis that loses requests or replies on command, as a network does: with the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


def nothing(_request: bytes, _reply: bytes) -> bool:
    return False


class LossyProxy:
    """Passes bytes on until `loses_request` or `loses_reply` says that this (request, reply) is lost; then hangs up."""

    def __init__(self, port: int) -> None:
        self.loses_request: Callable[[bytes, bytes], bool] = nothing
        self.loses_reply: Callable[[bytes, bytes], bool] = nothing
        self.lost = 0
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                last = [b""]
                for source, target, loses in ((client, server, self._is_lost_request), (server, client, self._is_lost)):
                    threading.Thread(target=self._pass_on, args=(source, target, last, loses), daemon=True).start()

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        last: list[bytes],
        loses: Callable[[list[bytes], bytes], bool],
    ) -> None:
        with contextlib.suppress(OSError), source, target:
            while piece := source.recv(1 << 16):
                if loses(last, piece):
                    self.lost += 1
                    break
                target.sendall(piece)
            for each in (source, target):
                each.shutdown(socket.SHUT_RDWR)

    def _is_lost_request(self, last: list[bytes], piece: bytes) -> bool:
        last[0] = piece
        return self.loses_request(piece, b"")

    def _is_lost(self, last: list[bytes], piece: bytes) -> bool:
        return self.loses_reply(last[0], piece)
