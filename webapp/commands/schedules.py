"""`flask --app webapp schedules ...`: when periodic jobs run next, how they ran last; a run now, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click
from flask.cli import AppGroup

from jobs.engine import Fleet
from jobs.engine.audit_log import Actor
from jobs.engine.timetable import ScheduleView
from webapp import operators
from webapp.actions import schedules as deeds
from webapp.commands import shell

HEAD = ("type", "when", "next", "last", "ended", "skipped", "missed", "state")
group = AppGroup("schedules", help="Periodic jobs: list, run now, pause, resume.")


@group.command("list")
@shell.as_json
def list_schedules(as_json: bool) -> None:
    """Every periodic job with its next and its last run (UTC)."""
    found = shell.asked(lambda fleet: fleet.schedules.all())
    shell.say(found, shell.table(HEAD, [_row(each) for each in found]), as_json=as_json)


@group.command("run")
@click.argument("name", metavar="TYPE")
@shell.by
@shell.as_json
def run(name: str, by: str | None, as_json: bool) -> None:
    """A run now, besides those that are due."""
    job = shell.asked(lambda fleet: deeds.run_now(fleet, operators.of_shell(by), name))
    shell.say(job, [f"{job.id} is queued"], as_json=as_json)


@group.command("pause")
@click.argument("names", metavar="TYPE", nargs=-1, required=True)
@shell.by
@shell.as_json
def pause(**given: Any) -> None:
    """Leave out what is due until it is resumed, whatever is restarted meanwhile."""
    _steer(deeds.pause, "is paused", **given)


@group.command("resume")
@click.argument("names", metavar="TYPE", nargs=-1, required=True)
@shell.by
@shell.as_json
def resume(**given: Any) -> None:
    """Go on with the next time."""
    _steer(deeds.resume, "goes on", **given)


def _steer(
    do: Callable[[Fleet, Actor, str], deeds.Steered], words: str, names: tuple[str, ...], by: str | None, as_json: bool
) -> None:
    actor = operators.of_shell(by)
    done = [shell.asked(lambda fleet, name=name: do(fleet, actor, name)) for name in names]  # type: ignore[misc]
    shell.say(
        done,
        [f"{view.type} {words if view.changed else 'was so already; nothing is changed'}" for view in done],
        as_json=as_json,
    )


def _row(view: ScheduleView) -> tuple[str | int, ...]:
    when = f"cron {view.cron} ({view.timezone})" if view.cron else f"every {view.every}"
    last = (view.last.status or "not known any more", _time(view.last.ended_at)) if view.last else ("-", "-")
    state = "paused" if view.paused else "on" if view.next else "cancelled by RQ's means"
    return (view.type, when, "-" if view.paused else _time(view.next), *last, view.skipped, view.missed, state)


def _time(moment: datetime | None) -> str:
    return f"{moment:%F %T}" if moment else "-"
