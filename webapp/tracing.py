"""A span around each request, in the trace that its `traceparent` names, so that the jobs it enqueues belong to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from apiflask import APIFlask
from flask import Response, request

from jobs.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def init_app(app: APIFlask, settings: Settings) -> None:
    """Trace requests where OTEL_EXPORTER_OTLP_ENDPOINT is set; otherwise nothing of OpenTelemetry is loaded.

    A span lasts until the response begins, so it does not grow with a stream; sockets have none.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return
    app.wsgi_app = _Traced(app.wsgi_app, settings)  # type: ignore[method-assign]
    app.after_request(_describe)


class _Traced:
    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._app, self._settings = app, settings

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_UPGRADE" in environ:
            return self._app(environ, start_response)
        from jobs.engine import spans

        method = _method(environ["REQUEST_METHOD"])
        sent = {name: str(environ.get(f"HTTP_{name.upper()}", "")) for name in ("traceparent", "tracestate")}
        about = {"http.request.method": method, "url.scheme": str(environ.get("wsgi.url_scheme", ""))}
        with spans.span(self._settings, method, spans.SpanKind.SERVER, about, spans.from_carried(sent)):
            return self._app(environ, start_response)


def _describe(response: Response) -> Response:
    """Route and status: a URL would name what the route does not, and may hold secrets."""
    from opentelemetry.trace import Status, StatusCode, get_current_span

    span: Any = get_current_span()
    route = request.url_rule.rule if request.url_rule is not None else None
    if route is not None:
        span.update_name(f"{_method(request.method)} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", response.status_code)
    if response.status_code >= 500:
        span.set_status(Status(StatusCode.ERROR))
        span.set_attribute("error.type", str(response.status_code))
    return response


def _method(method: str) -> str:
    return method if method in METHODS else "_OTHER"
