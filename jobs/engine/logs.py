"""Log lines of our loggers and everybody else's: JSON objects in production, readable text in development."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, StackInfoRenderer, format_exc_info
from structlog.tracebacks import ExceptionDictTransformer

from jobs.engine.log_context import bound, bound_job_context
from jobs.engine.log_redaction import redact, scrub
from jobs.settings import Settings

__all__ = ["bound_job_context", "configure"]

Fields = MutableMapping[str, Any]
_ROUTED = (
    "alembic",
    "gunicorn.access",
    "gunicorn.error",
    "rq",
    "rq.scheduler",
    "rq.worker",
    "rq_scheduler.scheduler",
    "sqlalchemy",
    "sqlalchemy.engine",
    "werkzeug",
)
_QUIET = (
    "boto3",
    "botocore",
    "fontTools",
    "httpcore2",
    "httpx2",
    "PIL",
    "pypdf",
    "s3transfer",
    "sqlalchemy",
    "urllib3",
)
Tap = Callable[[str, str, Mapping[str, Any]], None]
OWN: Mapping[str, Any] = {"_own": True}
"""Bound to lines that are kept with their job in another way, or are none of the job's."""
_LEVELS = {"exception": "error", "warn": "warning", "fatal": "critical", "msg": "info"}
_STRUCTURED = ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=30))
_STACK = StackInfoRenderer()
_ENCODER = json.JSONEncoder(allow_nan=False)


def configure(settings: Settings, process: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process, named `process` (web, worker ...), to `stream` (standard error).

    A line holds time (RFC 3339, UTC), level, event, logger, process, pid and what is bound to the context
    (correlation_id, job_id, job_type, tenant). Credentials are struck out. May be called again.
    """
    chain = _Chain(process, settings.json_logs, stream)
    level = logging.getLevelNamesMapping()[settings.log_level]
    structlog.configure(
        processors=[chain],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_factory(stream),
        cache_logger_on_first_use=settings.environment != "test",
    )
    _route_standard_logging(_Handler(chain, stream), level)
    if settings.json_logs:
        sys.excepthook = _log_crash
        threading.excepthook = _log_thread_crash


def keep_to(descriptor: int | None, tap: Tap | None) -> None:
    """Write lines to this descriptor although standard error is another by now (None: to standard error again).

    `tap` gets what else is logged in this process: level, event and values, neither of them redacted.
    """
    _Writer.own = None if descriptor is None else os.fdopen(descriptor, "w", encoding="utf-8", closefd=False)
    _Chain.tap = staticmethod(tap) if tap is not None else None


class _Chain:
    """Makes the text of a line from its fields."""

    tap: Tap | None = None

    def __init__(self, process: str, as_json: bool, stream: TextIO | None) -> None:
        self._process = process
        self._exception = _STRUCTURED if as_json else format_exc_info
        self._render: Callable[[Fields], str] = _json if as_json else _console(stream)

    def __call__(self, logger: Any, method: str, fields: Fields) -> str:
        own = fields.pop("_own", False)
        if self.tap is not None and not own:
            _tell(self.tap, _LEVELS.get(method, method), fields)
        if "exc_info" in fields:
            fields = dict(self._exception(logger, method, fields))
        if "stack_info" in fields:
            fields = dict(_STACK(logger, method, fields))
        head = {
            "time": datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": _LEVELS.get(method, method),
            "event": "",
            "logger": fields.pop("logger", None) or logger.name,
            "process": self._process,
            "pid": os.getpid(),
        }
        event = scrub(str(fields.pop("event", "")))
        return self._render({**head, **redact({**bound(), **fields}), **head, "event": event})


def _tell(tap: Tap, level: str, fields: Fields) -> None:
    """An exception's text is for operators: of it, only the type is told."""
    values = {
        name: value for name, value in fields.items() if name not in ("event", "exc_info", "stack_info", "logger")
    }
    error = fields.get("exc_info")
    kind = error[0] if isinstance(error, tuple) else type(error) if isinstance(error, BaseException) else None
    kind = sys.exc_info()[0] if error is True else kind
    tap(level, str(fields.get("event", "")), values if kind is None else {**values, "error": kind.__name__})


class _Writer:
    """What structlog calls with a finished line; a full disk or a closed pipe never breaks a job."""

    __slots__ = ("_stream", "name")
    own: TextIO | None = None

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self.name, self._stream = name, stream

    def msg(self, line: str) -> None:
        stream = self._stream or self.own or sys.stderr
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError, AttributeError):
            return

    log = debug = info = warn = warning = error = err = fatal = critical = exception = failure = msg


class _Handler(logging.Handler):
    """Takes the lines of libraries that use the standard logging."""

    def __init__(self, chain: _Chain, stream: TextIO | None) -> None:
        super().__init__()
        self._chain, self._writer = chain, _Writer("", stream)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: Fields = {"event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            self._writer.msg(self._chain(self._writer, record.levelname.lower(), fields))
        except Exception:
            self.handleError(record)


def _factory(stream: TextIO | None) -> Callable[..., _Writer]:
    return lambda *names: _Writer(str(names[0]) if names else "jobs", stream)


def _json(line: Fields) -> str:
    return _ENCODER.encode(line)


def _console(stream: TextIO | None) -> Callable[[Fields], str]:
    colours = (stream or sys.stderr).isatty()
    renderer = ConsoleRenderer(colors=colours, timestamp_key="time", exception_formatter=plain_traceback)

    def render(line: Fields) -> str:
        del line["process"], line["pid"]
        return str(renderer(None, line["level"], line))

    return render


def _route_standard_logging(handler: _Handler, level: int) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, _Handler) or type(old) is logging.StreamHandler:
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _ROUTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger("crash").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = args.thread.name if args.thread else None
        structlog.get_logger("crash").critical("uncaught exception in a thread", exc_info=args.exc_value, thread=name)
