"""`flask --app webapp queues ...`: how many jobs are where, pause and resume."""

from __future__ import annotations

from flask.cli import AppGroup

from webapp.commands import shell, steer
from webapp.console.filters import duration

HEAD = ("queue", "waiting", "parked", "active", "delayed", "completed", "failed", "oldest", "workers", "state")
group = AppGroup("queues", help="Queues: list, pause, resume.")
steer.pauses(group, "queue")


@group.command("list")
@shell.as_json
def list_queues(as_json: bool) -> None:
    """Every queue with its jobs by state."""
    found = shell.asked(lambda fleet: fleet.survey.queues())
    rows = []
    for each in found:
        counts = each.counts
        numbers = (counts.waiting, counts.parked, counts.active, counts.delayed, counts.completed, counts.failed)
        state = "paused" if each.paused else "ready"
        rows.append((each.name, *numbers, duration(each.oldest_wait), each.workers, state))
    shell.say(found, shell.table(HEAD, rows), as_json=as_json)
