"""A TCP proxy before Redis that loses, holds or delays requests and replies on command, and cuts connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_REQUEST = 1 << 20
Picks = Callable[[bytes, bytes], bool]


def nothing(_request: bytes, _reply: bytes) -> bool:
    return False


@dataclass(eq=False)
class Link:
    """One connection through the proxy; `request` is what came since the last reply began."""

    client: socket.socket
    server: socket.socket
    request: bytes = b""
    answered: bool = False

    def note(self, piece: bytes) -> None:
        """A piece of a request came."""
        self.request = piece if self.answered else (self.request + piece)[-LONGEST_REQUEST:]
        self.answered = False

    def hang_up(self) -> None:
        """End both halves."""
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class LossyProxy:
    """Passes bytes on until `loses_request` or `loses_reply` says that this (request, reply) is lost; then hangs up.

    What `holds_request` or `holds_reply` picks waits until `release`, even when its sender is gone by then. Replies
    take `delay` seconds longer.
    """

    def __init__(self, port: int) -> None:
        self.loses_request: Picks = nothing
        self.loses_reply: Picks = nothing
        self.holds_request: Picks = nothing
        self.holds_reply: Picks = nothing
        self.delay = 0.0
        self.lost = self.held = 0
        self._upstream = port
        self._let_go = threading.Event()
        self._links: set[Link] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more, and let go what is held."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.release()

    def release(self) -> None:
        """Hold nothing more, and pass on what was held."""
        self.holds_request = self.holds_reply = nothing
        self._let_go.set()

    def lead_to(self, port: int) -> None:
        """Have the server at that port be the one behind it from now on, as a failover does."""
        self._upstream = port
        self.cut()

    def cut(self) -> None:
        """Hang up on everybody who is connected now."""
        for link in list(self._links):
            link.hang_up()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._upstream))
                except OSError:
                    client.close()
                    continue
                link = Link(client, server)
                self._links.add(link)
                threading.Thread(target=self._pass_requests, args=(link,), daemon=True).start()
                threading.Thread(target=self._pass_replies, args=(link,), daemon=True).start()

    def _pass_requests(self, link: Link) -> None:
        with contextlib.suppress(OSError), link.client:
            while piece := link.client.recv(1 << 16):
                link.note(piece)
                if self._is_lost(self.loses_request, link.request, b""):
                    break
                self._hold(self.holds_request, link.request, b"")
                link.server.sendall(piece)
            self._end(link)

    def _pass_replies(self, link: Link) -> None:
        with contextlib.suppress(OSError), link.server:
            while piece := link.server.recv(1 << 16):
                link.answered = True
                if self._is_lost(self.loses_reply, link.request, piece):
                    break
                self._hold(self.holds_reply, link.request, piece)
                if self.delay:
                    time.sleep(self.delay)
                link.client.sendall(piece)
            self._end(link)

    def _is_lost(self, picks: Picks, request: bytes, reply: bytes) -> bool:
        lost = picks(request, reply)
        self.lost += lost
        return lost

    def _hold(self, picks: Picks, request: bytes, reply: bytes) -> None:
        if picks(request, reply):
            self._let_go.clear()
            self.held += 1
            self._let_go.wait(60)

    def _end(self, link: Link) -> None:
        self._links.discard(link)
        link.hang_up()
