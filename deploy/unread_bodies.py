"""Answers that come before a request's body was read: the connection ends with them, and they say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader  # type: ignore[import-untyped]

DRAINED = 16 * 1024
"""Bytes that gunicorn reads and throws away after an answer, to keep the connection; it would read 64 KiB."""
FAILED = "4", "5"
StartResponse = Callable[..., Any]


def closing_unread(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The application, whose answers say `Connection: close` where much of a body was left unread.

    gunicorn promises to keep the connection, and then closes it when the rest of the body is long: the next request on
    it, maybe another client's behind a proxy, would fail.
    """

    def guarded(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"]

        def begin(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            response = getattr(start_response, "__self__", None)
            if response is not None and _is_long(body.reader, status):
                response.force_close()
            return start_response(status, headers, *error)

        return application(environ, begin)

    return guarded


def _is_long(reader: Any, status: str) -> bool:
    """Whether more is left than is worth reading; of what comes in chunks nobody knows, so a refusal does not wait."""
    if isinstance(reader, LengthReader):
        return bool(reader.length > DRAINED)
    return isinstance(reader, ChunkedReader) and reader.parser is not None and status.startswith(FAILED)
