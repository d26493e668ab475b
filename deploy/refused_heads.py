"""What a client is told whose request is refused before the application sees it."""

from __future__ import annotations

import json
from http import HTTPStatus

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine  # type: ignore[import-untyped]

LONGEST_LINE = 8190
"""Characters of a request's first line: the most that gunicorn takes. A cursor may be 8,000 long."""
TOO_LONG = {
    LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, f"The address is longer than {LONGEST_LINE:,} characters."),
    LimitRequestHeaders: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too many or too long."),
}


def problem_of(error: Exception) -> bytes | None:
    """The whole answer, an application/problem+json as the application's own; None for what gunicorn answers well."""
    for kind, (status, detail) in TOO_LONG.items():
        if isinstance(error, kind):
            document = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
            body = json.dumps(document).encode()
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            about = f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
            return (head + about).encode() + body
    return None
