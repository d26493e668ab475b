"""`flask --app webapp set-aside ...`: what was taken out of schedules because nobody can read it."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from webapp import operators
from webapp.actions import set_aside as deeds
from webapp.commands import shell

HEAD = ("id", "schedule", "reason", "since")
group = AppGroup("set-aside", help="What was taken out of schedules as nobody can read it: list, discard.")


@group.command("list")
@click.option("--limit", default=50, show_default=True)
@click.option("--cursor", default=None)
@shell.as_json
def list_aside(limit: int, cursor: str | None, as_json: bool) -> None:
    """The latest first, with the schedule each stood in and why it was taken out (UTC)."""
    page = shell.asked(lambda fleet: fleet.set_aside.find(limit=limit, cursor=cursor))
    rows = [(each.id, each.schedule, each.reason, f"{each.at:%Y-%m-%d %H:%M:%S}") for each in page.items]
    more = [f"--cursor {page.next_cursor}"] if page.next_cursor else []
    shell.say(page, shell.table(HEAD, rows) + more, as_json=as_json)


@group.command("discard")
@click.argument("ids", metavar="ID", nargs=-1, required=True)
@shell.by
@shell.as_json
def discard(ids: tuple[str, ...], by: str | None, as_json: bool) -> None:
    """Throw away, with what is left of the jobs."""
    done = shell.asked(lambda fleet: deeds.discard(fleet, operators.of_shell(by), ids))
    shell.say(done, [f"{len(done.ids)} discarded"], as_json=as_json)
