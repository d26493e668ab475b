"""`flask --app webapp lanes ...`: what runs and waits in each lane, pause and resume."""

from __future__ import annotations

from flask.cli import AppGroup

from webapp.commands import shell, steer

HEAD = ("lane", "waiting", "parked", "active", "delayed", "slots", "state")
group = AppGroup("lanes", help="Lanes: list, pause, resume.")
steer.pauses(group, "lane")


@group.command("list")
@shell.as_json
def list_lanes(as_json: bool) -> None:
    """Every lane; with ~ in front of what was estimated from a part of long queues."""
    found = shell.asked(lambda fleet: fleet.survey.lanes())
    rows = []
    for each in found:
        about = "~" if each.estimated else ""
        counts, shut = each.counts, [f"{breaker.provider} {breaker.state}" for breaker in each.breakers]
        state = ", ".join([*(["paused"] if each.paused else []), *shut]) or "ready"
        waiting, delayed = f"{about}{counts.waiting}", f"{about}{counts.delayed}"
        rows.append((each.name, waiting, counts.parked, counts.active, delayed, each.slots, state))
    shell.say(found, shell.table(HEAD, rows), as_json=as_json)
