"""The chain: which middlewares there are, in which order, and how they are put together once for all calls."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import structlog

from jobs.engine.middleware.caller import Caller
from jobs.engine.middleware.failures import Failures
from jobs.engine.middleware.protocol import Enqueueing, Middleware
from jobs.engine.middleware.timing import Timing
from jobs.settings import InvalidSettings, Settings

if TYPE_CHECKING:
    from jobs.engine.context import Context
    from jobs.engine.job_types import JobType

BUILT_IN: Sequence[type[Middleware]] = (Caller, Failures, Timing)
"""Outermost first; tracing, where it is on, comes behind the first, and JOB_MIDDLEWARE behind the last."""
Send = Callable[[Enqueueing], Sequence[Any]]
Function = Callable[[Any, "Context"], Any]
log = structlog.get_logger("middleware")


class Chain:
    """The middlewares of one process, outermost first."""

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidSettings naming what can't be used."""
        first, *others = BUILT_IN
        tracing = [_tracing()] if settings.otel_exporter_otlp_endpoint else []
        added = [_load(path) for path in settings.job_middleware]
        self.links = [_made(kind, settings) for kind in (first, *tracing, *others, *added)]
        self._runs: dict[JobType[Any], Function] = {}

    def around_enqueue(self, send: Send) -> Send:
        """`send` with every middleware around it."""
        around = [link.around_enqueue for link in self._with("around_enqueue")]
        return reduce(lambda proceed, each: partial(each, proceed), reversed(around), send)

    def run(self, job_type: JobType[Any], payload: Any, context: Context) -> Any:
        """Call a job type's function with every middleware around it."""
        function = self._runs.get(job_type)
        if function is None:
            around = [link.around_run for link in self._with("around_run")]
            function = reduce(lambda proceed, each: partial(each, proceed), reversed(around), job_type.function)
            self._runs[job_type] = function
        return function(payload, context)

    @property
    def preload(self) -> Sequence[str]:
        """The modules that workers import before they fork."""
        return [module for link in self.links for module in link.preload]

    @property
    def must_close(self) -> bool:
        """Whether some middleware has to be told that its process ends."""
        return bool(self._with("close"))

    def close(self) -> None:
        """Tell every middleware that this process ends; what one of them raises is logged and stops no other."""
        for link in reversed(self._with("close")):
            try:
                link.close()
            except Exception:
                log.exception("middleware could not be closed", middleware=type(link).__qualname__)

    def _with(self, method: str) -> list[Middleware]:
        return [link for link in self.links if getattr(type(link), method) is not getattr(Middleware, method)]


def _tracing() -> type[Middleware]:
    try:
        from jobs.engine.middleware.tracing import Tracing
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, which needs OpenTelemetry ({error}): "
            "pip install --requirement requirements/otel.lock"
        ) from None
    return Tracing


def _load(path: str) -> type[Middleware]:
    module, _, name = path.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidSettings(
            f"JOB_MIDDLEWARE: {path!r} can't be loaded, write package.module:Class ({error})"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Middleware)):
        raise InvalidSettings(f"JOB_MIDDLEWARE: {path!r} is no subclass of jobs.engine.middleware.Middleware")
    return found


def _made(kind: type[Middleware], settings: Settings) -> Middleware:
    try:
        return kind(settings)
    except TypeError as error:
        raise InvalidSettings(f"JOB_MIDDLEWARE: {kind.__qualname__} can't be made from the settings: {error}") from None
