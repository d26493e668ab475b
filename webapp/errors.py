"""Every error as an RFC 9457 problem document that carries the correlation id and nothing of our internals."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from apiflask import APIFlask, HTTPError
from flask import Response, has_request_context, render_template, request
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as DatabaseTimeout
from werkzeug.exceptions import HTTPException

from jobs.adapters.storage import StorageError
from jobs.engine import (
    BrokerUnavailable,
    Conflict,
    FleetError,
    IdempotencyConflict,
    InvalidPayload,
    NeedsRedis,
    NotFound,
    PayloadTooLarge,
)
from webapp.correlation import correlation_id

MEDIA_TYPE = "application/problem+json"
CONSOLE = "/admin/queues"
RETRY_SOON = {"Retry-After": "2"}
DETAILS = {404: "There is no such thing here.", 413: "The request is too large."}
FLEET_PROBLEMS: tuple[tuple[type[FleetError], int, str | None], ...] = (
    (NotFound, 404, "There is no such thing here."),
    (Conflict, 409, None),
    (NeedsRedis, 501, None),
    (PayloadTooLarge, 413, None),
    (InvalidPayload, 422, None),
    (IdempotencyConflict, 422, None),
)


class Problem(Exception):
    """An answer that is a problem document: `status`, a `detail` for people, and extension members."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.members = status, detail, headers, members


def problem(
    status: int, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """An application/problem+json response; `members` such as `errors` are added to the document."""
    if (page := _page_of(status, detail)) is not None:
        page.headers.extend(headers or {})
        return page
    document = {"type": "about:blank", "title": _title(status), "status": status, "detail": detail or _title(status)}
    document |= {"correlation_id": correlation_id()} | members
    response = Response(json.dumps(document), status, mimetype=MEDIA_TYPE)
    response.headers.extend(headers or {})
    return response


def init_app(app: APIFlask) -> None:
    """Turn what routes, Flask, the engine and the adapters raise into problem documents."""
    app.error_processor(_api_problem)
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(Problem, _raised_problem)
    app.register_error_handler(FleetError, _fleet_problem)
    for kind in (OperationalError, InterfaceError, DatabaseTimeout):
        app.register_error_handler(kind, _database_problem)
    app.register_error_handler(DataError, _unstorable_problem)
    app.register_error_handler(OSError, _system_problem)
    app.register_error_handler(Exception, _internal_problem)


def _page_of(status: int, detail: str | None) -> Response | None:
    """The error as a page where a person in a browser is looking: any below /admin, elsewhere what is not there."""
    if not has_request_context() or not _asks_for_a_page():
        return None
    if request.path.startswith("/admin/"):
        known = {"status": status, "title": _title(status), "detail": detail or _title(status)}
        text = render_template("console/error.html", **known, correlation_id=correlation_id())
    elif status == HTTPStatus.NOT_FOUND and request.method == "GET":
        text = render_template("not_found.html")
    else:
        return None
    return Response(text, status, headers={"Vary": "Accept"})


def _asks_for_a_page() -> bool:
    """Whether the request is a browser's own, outside the APIs."""
    if request.path.startswith(("/api/", f"{CONSOLE}/api/")):
        return False
    wanted = request.accept_mimetypes
    return (
        "text/html" in wanted.values()
        and wanted.best_match([MEDIA_TYPE, "application/json", "text/html"]) == "text/html"
    )


def _raised_problem(error: Problem) -> Response:
    return problem(error.status, error.detail, headers=error.headers, **error.members)


def _http_problem(error: HTTPException) -> Response:
    """What Werkzeug raises: routing, parsing, limits. Redirects pass through."""
    answer = error.get_response()
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return answer  # type: ignore[return-value]
    detail = DETAILS.get(error.code, error.description)
    kept = {name: value for name, value in answer.headers if name in ("Allow", "Retry-After", "WWW-Authenticate")}
    return problem(error.code, detail if error.code < 500 else None, headers=kept)


def _api_problem(error: HTTPError) -> Response:
    """What APIFlask raises when a body or query does not validate."""
    if error.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return problem(422, "Some fields are not valid; see errors.", errors=_fields_of(error.detail))
    return problem(error.status_code, error.message)


def _fleet_problem(error: FleetError) -> Response:
    """What the engine and the adapters report; a foreign tenant's thing reads exactly like one that is not there."""
    if isinstance(error, BrokerUnavailable):
        wait = str(max(1, round(error.retry_after.total_seconds())))
        return problem(503, "The job queue is away for the moment; try again.", headers={"Retry-After": wait})
    if isinstance(error, StorageError) and not isinstance(error, NotFound):
        return _away("The storage is away for the moment; try again.", error)
    if isinstance(error, InvalidPayload) and error.problems:
        return problem(422, str(error), errors=[{"in": "request"} | each for each in error.problems])
    for kind, status, detail in FLEET_PROBLEMS:
        if isinstance(error, kind):
            return problem(status, detail or str(error))
    return _internal_problem(error)


def _database_problem(error: Exception) -> Response:
    return _away("The database is away for the moment; try again.", error)


def _unstorable_problem(error: DataError) -> Response:
    return problem(400, "The request holds a value that the database can't look up.")


def _system_problem(error: OSError) -> Response:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
        return _away("The storage is full for the moment; try again later.", error)
    return _internal_problem(error)


def _away(detail: str, error: Exception) -> Response:
    structlog.get_logger("webapp").error("a part is away", exc_info=error)
    return problem(503, detail, headers=RETRY_SOON)


def _internal_problem(error: Exception) -> Response:
    structlog.get_logger("webapp").error("request failed", exc_info=error)
    return problem(500, "Something went wrong on our side; the correlation id finds it in the logs.")


def _fields_of(detail: Any) -> list[dict[str, str]]:
    if not isinstance(detail, dict):
        return []
    return [
        {"in": str(place), "field": str(field), "message": str(message)}
        for place, fields in detail.items()
        for field, messages in fields.items()
        for message in messages
    ]


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
