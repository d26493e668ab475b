"""gunicorn's threaded worker, which gives a connection a thread only once its request's headers are there."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from deploy.refused_heads import problem_of
from deploy.unread_bodies import closing_unread

HEADERS_WITHIN = 10.0  # seconds from a connection's first, or its answer's last byte read
LONGEST_HEAD = 256 * 1024  # more is for the parser to refuse
END = b"\r\n\r\n"
PIECE = 16 * 1024
LEAVES_WITHIN = 2.0  # seconds in which a client may read the last answer of a connection
BREATH = 0.05  # seconds
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Reads heads in the event loop: thousands that never finish theirs hold a socket each, and no thread."""

    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leaving_conns: deque[Any] = deque()

    def load_wsgi(self) -> None:
        """Load the application; its answers end a connection on which much of a body was left."""
        super().load_wsgi()
        self.wsgi = closing_unread(self.wsgi)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection. Without a free descriptor for it, give up the one that has been silent longest."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in OUT_OF_FILES:
                raise
            self.log.error("no file descriptor is left: raise the limit of open files (ulimit -n)")
            self._make_room()
            time.sleep(BREATH)

    def enqueue_req(self, conn: Any) -> None:
        """Hand the connection to a thread, now or when its head is complete. Called in the main thread only."""
        if self.cfg.is_ssl:
            super().enqueue_req(conn)
            return
        conn.close = partial(self._close, conn)
        conn.head = bytearray(conn.parser.unreader.take_buffered() if conn.parser else b"")
        if _complete(conn.head):
            super().enqueue_req(conn)
            return
        self._watch(conn, self.pending_conns, HEADERS_WITHIN, self._on_head)
        self._on_head(conn, conn.sock)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Full, go on accepting as long as an idle connection can make room for one that may bring a request."""
        if enabled or not self.alive or not self._make_room():
            super().set_accept_enabled(enabled)

    def handle(self, conn: Any) -> Any:
        """In a thread: let the parser begin with what was read already."""
        if not self.cfg.is_ssl:
            conn.init()
            conn.parser.unreader.unread(bytes(conn.head))
        return super().handle(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Tell a client whose head is too long in the application's own form."""
        answer = problem_of(exc)
        if answer is None:
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("a request was refused: %s", exc)
        with suppress(OSError):
            util.write_nonblock(client, answer)

    def murder_pending(self) -> None:
        """Close what has been waited for long enough."""
        super().murder_pending()
        now = time.monotonic()
        while self.leaving_conns and self.leaving_conns[0].timeout <= now:
            self._drop(self.leaving_conns)

    def _on_head(self, conn: Any, sock: socket.socket) -> None:
        piece = _received(sock)
        if piece is None:
            return
        conn.head += piece
        if not piece:
            self._drop(self.pending_conns, conn)
        elif _complete(conn.head):
            self.pending_conns.remove(conn)
            self.poller.unregister(sock)
            super().enqueue_req(conn)

    def _close(self, conn: Any, graceful: bool = False) -> None:
        """Gracefully: once the client has read the answer. gunicorn's own way stops the event loop for that long.

        The descriptor is a new one, since a WebSocket's own thread may close the old one at any time.
        """
        used = conn.sock
        with suppress(OSError):
            if graceful:
                used.shutdown(socket.SHUT_WR)
                conn.sock = used.dup()
                self._watch(conn, self.leaving_conns, LEAVES_WITHIN, self._on_rest)
                self.nr_conns += 1
        util.close(used)

    def _on_rest(self, conn: Any, sock: socket.socket) -> None:
        if _received(sock) == b"":
            self._drop(self.leaving_conns, conn)

    def _watch(self, conn: Any, waiting: deque[Any], seconds: float, on_bytes: Callable[..., None]) -> None:
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + seconds
        waiting.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(on_bytes, conn))

    def _cap_keepalive(self, deadline: float) -> None:
        """A stopping worker waits no longer for heads than for the next request of a kept connection."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _make_room(self) -> bool:
        for waiting in (self.leaving_conns, self.pending_conns, self.keepalived_conns):
            if waiting:
                self._drop(waiting)
                return True
        return False

    def _drop(self, waiting: deque[Any], conn: Any = None) -> None:
        conn = conn or waiting[0]
        waiting.remove(conn)
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def _received(sock: socket.socket) -> bytes | None:
    """What has come; None for nothing yet, and nothing for the end."""
    try:
        return sock.recv(PIECE)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _complete(head: bytearray) -> bool:
    return END in head or len(head) > LONGEST_HEAD
