"""`flask --app webapp dead-letters ...`: what operators do with dead letters from a shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup
from pydantic import BaseModel

from jobs.engine.dead_letters import DeadLetters, Done, Letter, Where
from jobs.engine.dead_letters.actions import MOST
from webapp import operators
from webapp.actions import letters as deeds
from webapp.commands import shell

letters = AppGroup("dead-letters", help="Jobs that failed for good: list, group, show, run again, discard.")
FILTERS = ("type", "tenant", "lane", "queue", "fingerprint", "text", "since", "until")


def _where(given: dict[str, Any]) -> Where:
    wanted = {name: given.pop(name) for name in (*FILTERS, "spent")}
    wanted["state"] = "quarantined" if given.pop("quarantined") else "dead"
    return Where(**{name: value for name, value in wanted.items() if value is not None})


filtered = shell.filtered(
    _where,
    click.option("--spent/--final", default=None, help="Whether no retry was left, or none would help."),
    click.option("--quarantined", is_flag=True, help="What was set aside instead."),
    *(click.option(f"--{name}", default=None) for name in FILTERS),
)


def acting(command: Callable[..., None]) -> Callable[..., None]:
    """Options of a command that changes something."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    command = click.option("--by", default=None, help="Who wants it; the user of this shell by default.")(command)
    command = click.option("--bound", default=None, help="Act: on what a dry run found that printed this bound.")(
        command
    )
    return click.argument("job_id", required=False)(command)


@letters.command("list")
@filtered
@click.option("--limit", default=50, show_default=True)
@click.option("--cursor", default=None)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_letters(where: Where, limit: int, cursor: str | None, as_json: bool) -> None:
    """Letters, the latest first."""
    page = _asked(lambda desk: desk.find(where, limit=limit, cursor=cursor))
    _print(
        page,
        as_json,
        [_line(letter) for letter in page.items] + [f"--cursor {page.next_cursor}"][: bool(page.next_cursor)],
    )


@letters.command("groups")
@click.option("--limit", default=50, show_default=True)
@click.option("--cursor", default=None)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_groups(limit: int, cursor: str | None, as_json: bool) -> None:
    """Errors, that of the latest letter first."""
    page = _asked(lambda desk: desk.groups(limit=limit, cursor=cursor))
    lines = [
        f"{group.fingerprint}  {group.count:6}  {group.last_at:%F %T}  {group.type}  {group.text}"
        for group in page.items
    ]
    _print(page, as_json, lines + [f"--cursor {page.next_cursor}"][: bool(page.next_cursor)])


@letters.command("show")
@click.argument("job_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(job_id: str, as_json: bool) -> None:
    """One letter: payload, runs with their tracebacks, output."""
    details = _asked(lambda desk: desk.get(job_id))
    lines = [_line(details), f"payload: {details.payload}"]
    for run in details.history:
        lines += [
            "",
            f"attempt {run.number} ({run.outcome}) on {run.worker}, {run.began_at} to {run.ended_at}",
            run.traceback,
        ]
    _print(details, as_json, lines + [line.text for line in details.lines])


@letters.command("exhausted")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def exhausted(as_json: bool) -> None:
    """How many jobs used up their retries on each of the last eight days (UTC)."""
    for day in _asked(lambda desk: desk.exhausted()):
        click.echo(day.model_dump_json() if as_json else f"{day.day}  {day.total:6}  {day.types or ''}")


@letters.command("retry")
@filtered
@acting
def retry(**given: Any) -> None:
    """Run one letter again; or with filters a dry run, whose bound then says what may be run again."""
    _act(deeds.retry, deeds.retry_one, **given)


@letters.command("discard")
@filtered
@acting
def discard(**given: Any) -> None:
    """Throw one letter away; or with filters a dry run, whose bound then says what may be thrown away."""
    _act(deeds.discard, deeds.discard_one, **given)


def _act(
    many: Callable[..., Done], one: Callable[..., Letter], where: Where, job_id: str | None, bound: str | None,
    by: str | None, as_json: bool,
) -> None:  # fmt: skip
    who = operators.of_shell(by)
    if sum((bool(job_id), bool(bound), where != Where())) > 1:
        raise click.UsageError("give an id, or filters, or --bound")
    if job_id:
        letter = shell.asked(lambda fleet: one(fleet, who, job_id))
        return _print(letter, as_json, [_line(letter)])
    if bound is None:
        plan = _asked(lambda desk: desk.plan(where))
        number = f"{'more than ' if plan.more else ''}{plan.count} letters; nothing is changed yet. To go on:"
        return _print(plan, as_json, [*map(_line, plan.shown), number, f"--bound {plan.bound}"])
    done = shell.asked(lambda fleet: many(fleet, who, bound, most=MOST))
    left = [f"{refusal.id}: {refusal.reason}" for refusal in done.refusals]
    return _print(done, as_json, [f"{done.done} done, {done.refused} left", *left])


def _asked(ask: Callable[[DeadLetters], Any]) -> Any:
    return shell.asked(lambda fleet: ask(fleet.dead_letters))


def _line(letter: Letter) -> str:
    when, tenant = f"{letter.died_at:%F %T}", letter.tenant or "-"
    return "  ".join((letter.id, when, letter.type, tenant, letter.fingerprint, letter.text))


def _print(value: BaseModel, as_json: bool, lines: list[str]) -> None:
    shell.say(value, lines, as_json=as_json)
