"""What all commands share: asking the fleet, printing what it says, and who acts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from jobs.engine import Fleet, FleetError, logs
from webapp.services import fleet

T = TypeVar("T")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
by = click.option("--by", default=None, help="Who wants it; the user of this shell by default.")


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
