"""`flask --app webapp audit ...`: what operators did, from a shell."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from jobs.engine.audit_log import AuditLine
from webapp.commands import shell

HEAD = ("at", "who", "role", "from", "action", "target", "tenant", "jobs", "line")
group = AppGroup("audit", help="The audit log: what operators did, and which jobs that changed.")


@group.command("list")
@click.option("--subject", default=None, help="Who.")
@click.option("--action", default=None, help="How the action begins, such as job.")
@click.option("--target", default=None, help="A part of what it was done to, or a job's id.")
@click.option("--text", default=None, help="A part of anything, or a job's id.")
@click.option("--tenant", default=None, help="Whose things.")
@shell.paged
def list_lines(as_json: bool, **wanted: Any) -> None:
    """Lines of which all that is asked for holds, the latest first."""
    page = shell.asked(lambda fleet: fleet.audit.search(**wanted))
    more = [f"to go on: --cursor {page.next_cursor}"] if page.next_cursor else []
    shell.say(page, [*shell.table(HEAD, [_row(line) for line in page.items]), *more], as_json=as_json)


@group.command("jobs")
@click.argument("line")
@click.option("--after", default=-1, help="Where the last page ended.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@shell.as_json
def list_jobs(line: str, after: int, limit: int, as_json: bool) -> None:
    """The jobs that one line is about, each with its state before and after."""
    page = shell.asked(lambda fleet: fleet.audit.jobs(line, after=after, limit=limit))
    rows = [(each.id, each.tenant or "-", each.before, each.after) for each in page.items]
    more = [f"to go on: --after {page.next_after}"] if page.next_after is not None else []
    shell.say(page, [*shell.table(("job", "tenant", "before", "after"), rows), *more], as_json=as_json)


def _row(line: AuditLine) -> tuple[Any, ...]:
    about = line.action, line.target, line.tenant or "-", line.jobs, line.id
    return f"{line.at:%F %T}", line.subject, line.role, line.how, *about
