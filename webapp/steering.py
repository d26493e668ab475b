"""What operators do to queues, lanes, workers and breakers: done once, said in a sentence, written to the audit log.

Pages, API and command line call the same functions. All raise NotFound, Conflict and BrokerUnavailable.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from jobs.engine import Fleet, NotFound
from jobs.engine.audit_log import Actor
from jobs.engine.draining import drain
from jobs.engine.survey.shapes import Told

Kind = Literal["queue", "lane", "worker"]
LONGEST_OPEN = timedelta(days=1)


class Steered(Told):
    """What was done: to which queue, lane, worker or breaker, and how it is now."""

    kind: Literal["queue", "lane", "worker", "breaker"]
    name: str
    state: str
    sentence: str


def pause(fleet: Fleet, kind: Kind, name: str, by: Actor) -> Steered:
    """Have it begin no further jobs; what runs goes on."""
    return _pause(fleet, kind, name, by, True)


def resume(fleet: Fleet, kind: Kind, name: str, by: Actor) -> Steered:
    """Have it go on."""
    return _pause(fleet, kind, name, by, False)


def drain_worker(fleet: Fleet, name: str, by: Actor) -> Steered:
    """Have a worker take nothing more, end what it runs, and then itself. Raises NeedsRedis too."""
    worker = next((each for each in fleet.survey.workers() if each.name == name), None)
    drain(fleet, name)
    before = {"state": worker.state, "running": [run.id for run in worker.running]} if worker else None
    fleet.audit.record(action="worker.drain", target=name, by=by, before=before, after={"state": "draining"})
    sentence = f"Worker {name} takes nothing more and ends with what it runs."
    return Steered(kind="worker", name=name, state="draining", sentence=sentence)


def open_breaker(fleet: Fleet, lane: str, provider: str, for_: timedelta, reason: str, by: Actor) -> Steered:
    """Have a lane's jobs wait for at least so long."""
    before = fleet.breakers.look(lane, provider)
    now = fleet.breakers.open(lane, provider, min(for_, LONGEST_OPEN), reason)
    after = {"state": now.state, "seconds": round(now.wait.total_seconds()), "reason": reason}
    name = f"{lane}/{provider}"
    fleet.audit.record(action="breaker.open", target=name, by=by, before={"state": before.state}, after=after)
    return Steered(kind="breaker", name=name, state=now.state, sentence=f"Breaker {name} is open.")


def close_breaker(fleet: Fleet, lane: str, provider: str, by: Actor) -> Steered:
    """Have a lane go on at once."""
    before = fleet.breakers.look(lane, provider)
    now = fleet.breakers.close(lane, provider)
    name = f"{lane}/{provider}"
    states = {"state": before.state}, {"state": now.state}
    fleet.audit.record(action="breaker.close", target=name, by=by, before=states[0], after=states[1])
    return Steered(kind="breaker", name=name, state=now.state, sentence=f"Breaker {name} is closed; its lane goes on.")


def _pause(fleet: Fleet, kind: Kind, name: str, by: Actor, is_pause: bool) -> Steered:
    what = f"{kind}:{name}"
    before = what in fleet.pauses.all()
    if not before:
        _refuse_unknown(fleet, kind, name)
    after = what in (fleet.pauses.pause(what) if is_pause else fleet.pauses.resume(what))
    verb = "pause" if is_pause else "resume"
    fleet.audit.record(action=f"{kind}.{verb}", target=name, by=by, before={"paused": before}, after={"paused": after})
    told = "is paused: it begins no further jobs, and what runs goes on" if after else "goes on"
    sentence = f"{kind.capitalize()} {name} {told}."
    return Steered(kind=kind, name=name, state="paused" if after else "ready", sentence=sentence)


def _refuse_unknown(fleet: Fleet, kind: Kind, name: str) -> None:
    """A mistyped name must not look as if it had been paused; the engine knows the lanes itself."""
    if kind == "queue" and name not in fleet.survey.names:
        raise NotFound(f"there is no queue {name!r}; there are {', '.join(fleet.survey.names)}")
    if kind == "worker" and name not in {worker.name for worker in fleet.survey.workers()}:
        raise NotFound(f"there is no worker {name!r}")
