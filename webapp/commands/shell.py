"""What all commands share: asking the fleet, printing what it says, and who acts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from jobs.engine import Fleet, FleetError, logs
from webapp.services import fleet

T = TypeVar("T")
Command = Callable[..., None]
Option = Callable[[Command], Command]
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
by = click.option("--by", default=None, help="Who wants it; the user of this shell by default.")


def paged(command: Command) -> Command:
    """`--limit`, `--cursor` and `--json`."""
    command = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))(command)
    return click.option("--cursor", default=None, help="Where the last page ended.")(as_json(command))


def filtered(read: Callable[[dict[str, Any]], BaseModel], *options: Option) -> Option:
    """Options that say which things are meant; the command gets them as `where`.

    `read` takes what belongs to it out of everything that was given; what its model refuses is a usage error.
    """

    def decorate(command: Command) -> Command:
        def run(**given: Any) -> None:
            try:
                where = read(given)
            except ValidationError as error:
                problems = (f"--{(problem['loc'] or ('field',))[0]}: {problem['msg']}" for problem in error.errors())
                raise click.UsageError("; ".join(problems)) from None
            command(where=where, **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        for option in reversed(options):
            run = option(run)
        return run

    return decorate


def asked(ask: Callable[[Fleet], T]) -> T:
    """What the fleet says; what it refuses ends the command with its words."""
    logs.configure(fleet().settings, "shell")
    try:
        return ask(fleet())
    except (FleetError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def say(value: BaseModel | Sequence[BaseModel], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a value, or several, as JSON or as lines."""
    if not as_json:
        click.echo(shown("\n".join(lines)))
    elif isinstance(value, BaseModel):
        click.echo(value.model_dump_json())
    else:
        click.echo(json.dumps([each.model_dump(mode="json") for each in value]))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of columns that are as wide as they need; numbers stand to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *texts, strict=True)]
    right = [bool(rows) and all(isinstance(row[n], int | float) for row in rows) for n in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [list(head), *texts]
    ]


def shown(text: str) -> str:
    """Without what might steer the terminal: others wrote parts of it."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
