"""The operators' console at /admin/queues: server-rendered pages, one file a family."""

from __future__ import annotations

from apiflask import APIFlask
from flask import Blueprint

from webapp.console import filters, frame


def blueprints() -> list[Blueprint]:
    """The pages, in alphabetical order; all that has to be registered."""
    from webapp.console import (
        audit,
        breakers,
        bulk,
        dead_letters,
        events,
        lanes,
        overview,
        queues,
        schedules,
        workers,
        workflows,
    )

    return [
        audit.bp,
        breakers.bp,
        bulk.bp,
        dead_letters.bp,
        events.bp,
        lanes.bp,
        overview.bp,
        queues.bp,
        schedules.bp,
        workers.bp,
        workflows.bp,
    ]


def init_app(app: APIFlask) -> None:
    """Give the templates the frame around every page, and the filters that write times and numbers."""
    frame.init_app(app)
    filters.init_app(app)
