"""`flask --app webapp ...`: what operators do from a shell; one file a group of commands."""

from __future__ import annotations

from apiflask import APIFlask
from flask.cli import AppGroup


def groups() -> list[AppGroup]:
    """The groups, in alphabetical order; all that has to be registered."""
    from webapp.commands import (
        audit,
        breakers,
        dead_letters,
        jobs,
        lanes,
        operators,
        queues,
        schedules,
        set_aside,
        workers,
    )

    return [
        audit.group,
        breakers.group,
        dead_letters.letters,
        jobs.group,
        lanes.group,
        operators.group,
        queues.group,
        schedules.group,
        set_aside.group,
        workers.group,
    ]


def init_app(app: APIFlask) -> None:
    """Give Flask's command line every group."""
    for group in groups():
        app.cli.add_command(group)
