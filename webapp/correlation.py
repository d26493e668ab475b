"""The correlation id of a request: taken from X-Request-ID or made, bound to logs and jobs, and echoed."""

from __future__ import annotations

import re
from uuid import uuid4

import structlog
from apiflask import APIFlask
from flask import Response, request

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def init_app(app: APIFlask) -> None:
    """Bind the id before anything else of a request runs; the engine reads it from the context at enqueue."""
    app.before_request(_bind)
    app.after_request(_echo)


def correlation_id() -> str:
    """This request's id: 1 to 64 letters, digits, dots, dashes or underscores."""
    return str(structlog.contextvars.get_contextvars().get("correlation_id") or _bind_id(uuid4().hex))


def _bind() -> None:
    structlog.contextvars.clear_contextvars()
    sent = request.headers.get(HEADER, "")
    _bind_id(sent if _ACCEPTED.fullmatch(sent) else uuid4().hex)


def _bind_id(value: str) -> str:
    structlog.contextvars.bind_contextvars(correlation_id=value)
    return value


def _echo(response: Response) -> Response:
    response.headers[HEADER] = correlation_id()
    return response
