"""`flask --app webapp breakers ...`: which circuit breakers are not closed; open and close by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import click
from flask.cli import AppGroup

from jobs.engine import Fleet
from webapp import operators, steering
from webapp.commands import shell
from webapp.console.filters import NOTHING, stamp

HEAD = ("breaker", "state", "since", "until", "opened", "reason")
group = AppGroup("breakers", help="Circuit breakers: list, open, close.")


@group.command("list")
@shell.as_json
def list_breakers(as_json: bool) -> None:
    """Those that are not closed."""
    found = shell.asked(lambda fleet: fleet.survey.breakers())
    rows = [(each.name, each.state, _at(each.since), _at(each.until), each.times, each.reason) for each in found]
    shell.say(found, shell.table(HEAD, rows) if rows else ["every breaker is closed"], as_json=as_json)


@group.command("open")
@click.argument("lane")
@click.argument("provider")
@click.option("--seconds", default=300, show_default=True, type=click.IntRange(1, 86_400), help="At least so long.")
@click.option("--reason", default="opened by hand", show_default=True)
@shell.by
@shell.as_json
def open_breaker(lane: str, provider: str, seconds: int, reason: str, by: str | None, as_json: bool) -> None:
    """Have a lane's jobs wait."""

    def act(fleet: Fleet) -> steering.Steered:
        span = timedelta(seconds=seconds)
        return steering.open_breaker(fleet, lane, provider, span, reason, operators.of_shell(by))

    done = shell.asked(act)
    shell.say(done, [done.sentence], as_json=as_json)


@group.command("close")
@click.argument("lane")
@click.argument("provider")
@shell.by
@shell.as_json
def close_breaker(lane: str, provider: str, by: str | None, as_json: bool) -> None:
    """Have a lane go on at once."""
    done = shell.asked(lambda fleet: steering.close_breaker(fleet, lane, provider, operators.of_shell(by)))
    shell.say(done, [done.sentence], as_json=as_json)


def _at(moment: datetime | None) -> str:
    return stamp(moment) if moment else NOTHING
