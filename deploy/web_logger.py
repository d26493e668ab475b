"""The web server's log lines in the shape of all others; query strings stay out of them, since they may hold tokens."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from jobs.engine import logs
from jobs.settings import Settings

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
STATIC = "/static/"


class WebLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger on structlog."""

    def setup(self, cfg: Config) -> None:
        """Take over gunicorn's own lines and those of the application in every process of the server."""
        super().setup(cfg)
        logs.configure(Settings.from_env(), "web")
        self._access = structlog.get_logger("web.access")

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """One line a request when it has ended; that of a probe, a static file or an unchanged one is for debugging."""
        path, status = environ.get("PATH_INFO", ""), int(str(resp.status).split(maxsplit=1)[0])
        write = self._access.debug if is_quiet(path, status) else self._access.info
        write(
            "request",
            method=environ.get("REQUEST_METHOD"),
            path=path,
            status=status,
            bytes=resp.sent,
            seconds=round(request_time.total_seconds(), 4),
            client=environ.get("REMOTE_ADDR"),
            correlation_id=_header(resp.headers, "x-request-id"),
        )


def is_quiet(path: str, status: int) -> bool:
    """Whether an answer went as expected and nobody follows a person by it: probes, static files, unchanged ones."""
    expected = path in QUIET or path.startswith(STATIC) or status == HTTPStatus.NOT_MODIFIED
    return expected and status < HTTPStatus.BAD_REQUEST


def _header(headers: list[tuple[str, str]], wanted: str) -> str | None:
    return next((value for name, value in headers if name.lower() == wanted), None)
