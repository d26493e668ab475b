"""Request bodies as they come off the wire: what is broken or endlessly slow becomes a 4xx, no hang and no 5xx."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import IO, TYPE_CHECKING

from werkzeug.exceptions import BadRequest, HTTPException, RequestTimeout, ServiceUnavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATIENCE = timedelta(seconds=30)
LOOK_EVERY = timedelta(seconds=5)
LEAST_RATE = 1024  # bytes a second, on average and in each step, once the patience is over
STEP = 64 * 1024
MOST_BODIES = 100  # read at the same time in one process


class GuardedBodies:
    """WSGI middleware that stands between the server's `wsgi.input` and everything that reads it."""

    def __init__(self, app: WSGIApplication, watch: Watch | None = None) -> None:
        self._app, self._watch = app, watch or Watch(PATIENCE, LOOK_EVERY)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = Body(environ["wsgi.input"], environ.get("gunicorn.socket"), self._watch)
        environ["wsgi.input"] = body
        try:
            return self._app(environ, start_response)
        finally:
            self._watch.remove(body)


class Body:
    """A request's input stream. Reading raises a 400 or 408 HTTP exception when no proper body arrives in time."""

    def __init__(self, raw: IO[bytes], connection: socket.socket | None, watch: Watch) -> None:
        self._raw, self._connection, self._watch = raw, connection, watch
        self._since: float | None = None
        self._received = 0
        self._step: tuple[float, int] | None = None
        self._given_up = False

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes and no more than one step, all that is left when it is negative or None."""
        if self._since is None:
            self._watch.add(self)
            self._since = time.monotonic()
        if size is None or size < 0:
            return b"".join(iter(lambda: self._next(STEP), b""))
        return self._next(min(size, STEP))

    def lateness(self, patience: timedelta, least_rate: float) -> float:
        """By how many seconds its reader has waited too long, for the whole until now or for the step it is in.

        What came earlier earns the whole its time, but no step: nobody sends much at once to be silent for hours.
        """
        now, step = time.monotonic(), self._step
        whole = now - (self._since or now) - self._received / least_rate
        current = now - step[0] - step[1] / least_rate if step else whole
        return max(whole, current) - patience.total_seconds()

    def give_up(self) -> None:
        """Wake the reader, who waits for bytes."""
        self._given_up = True
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)

    def _next(self, size: int) -> bytes:
        self._step = time.monotonic(), size
        try:
            data = self._raw.read(size)
        except HTTPException:
            raise
        except Exception as error:  # each server has its own for a broken body
            raise self._problem() from error
        finally:
            self._step = None
        if self._given_up:
            raise self._problem()
        self._received += len(data)
        return data

    def _problem(self) -> HTTPException:
        if self._given_up:
            return RequestTimeout("The body came too slowly.")
        return BadRequest("The body is malformed or ends too early.")


class Watch:
    """Looks at the bodies being read and gives up those that come so slowly that they only hold a thread."""

    def __init__(
        self, patience: timedelta, look_every: timedelta, least_rate: float = LEAST_RATE, most: int = MOST_BODIES
    ) -> None:
        self.patience, self._look_every, self._least_rate, self._most = patience, look_every, least_rate, most
        self._lock = threading.Lock()
        self._bodies: set[Body] = set()
        self.running = False

    def add(self, body: Body) -> None:
        """Watch `body` until it is removed. Raises a 503 HTTP exception when too many come in at once."""
        with self._lock:
            if len(self._bodies) >= self._most:
                raise ServiceUnavailable("Too many bodies are being sent; try again in a moment.", retry_after=5)
            self._bodies.add(body)
            if not self.running:
                self.running = True
                threading.Thread(target=self._run, name="slow-bodies", daemon=True).start()

    def remove(self, body: Body) -> None:
        """Its request has been answered: the connection may carry the next one."""
        with self._lock:
            self._bodies.discard(body)

    def _run(self) -> None:
        while self._look():
            time.sleep(self._look_every.total_seconds())

    def _look(self) -> bool:
        with self._lock:
            for body in self._bodies:
                if body.lateness(self.patience, self._least_rate) > 0:
                    body.give_up()
            self.running = bool(self._bodies)
            return self.running
