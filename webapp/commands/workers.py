"""`flask --app webapp workers ...`: who is at work on what; pause, resume and drain."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import AppGroup

from webapp import steering
from webapp.commands import shell, steer
from webapp.console.filters import NOTHING, duration

HEAD = ("worker", "state", "slots", "memory", "version", "heartbeat", "queues", "runs")
MB = 1024 * 1024


@click.group("workers", cls=AppGroup, invoke_without_command=True)
@shell.as_json
@click.pass_context
def group(context: click.Context, as_json: bool) -> None:
    """Workers: list (what `workers` alone does, too), pause, resume, drain."""
    if context.invoked_subcommand is None:
        context.invoke(list_workers, as_json=as_json)


steer.pauses(group, "worker")


@group.command("list")
@shell.as_json
def list_workers(as_json: bool) -> None:
    """Every worker with what it runs."""
    found = shell.asked(lambda fleet: fleet.survey.workers())
    rows = []
    for each in found:
        memory = f"{each.memory // MB} MB" if each.memory else NOTHING
        runs = " ".join(f"{run.type}:{run.id}" for run in each.running) or NOTHING
        slots, heartbeat = f"{each.busy}/{each.slots}", duration(each.heartbeat_age)
        rows.append((each.name, each.state, slots, memory, each.version, heartbeat, ",".join(each.queues), runs))
    shell.say(found, shell.table(HEAD, rows) if rows else ["no worker is registered"], as_json=as_json)


@group.command("drain")
@steer.naming("worker")
def drain(**given: Any) -> None:
    """Have each worker take nothing more, end what it runs, however long that takes, and then itself."""
    steer.steer(steering.drain_worker, **given)
