"""`pause` and `resume`, which the groups of queues, lanes and workers have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from flask.cli import AppGroup

from webapp import operators, steering
from webapp.commands import shell


def pauses(group: AppGroup, kind: steering.Kind) -> None:
    """Give the group `pause NAME...` and `resume NAME...`."""

    @group.command("pause", help=f"Have each {kind} begin no further jobs; what runs goes on.")
    @naming(kind)
    def pause(**given: Any) -> None:
        steer(steering.pause, kind, **given)

    @group.command("resume", help=f"Have each {kind} go on.")
    @naming(kind)
    def resume(**given: Any) -> None:
        steer(steering.resume, kind, **given)


def naming(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """One or more names, `--by` and `--json`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return click.argument("names", metavar=kind.upper(), nargs=-1, required=True)(shell.by(shell.as_json(command)))

    return decorate


def steer(
    do: Callable[..., steering.Steered], *first: str, names: tuple[str, ...], by: str | None, as_json: bool
) -> None:
    """Do it to each, and print what was done."""
    actor = operators.of_shell(by)
    done = [shell.asked(lambda fleet, name=name: do(fleet, *first, name, actor)) for name in names]  # type: ignore[misc]
    shell.say(done, [each.sentence for each in done], as_json=as_json)
