"""What operators do to queues, lanes, workers and breakers: done once, said in a sentence, written to the audit log.

Pages, API and command line call the same functions. All raise NotFound, Conflict and BrokerUnavailable.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from jobs.engine import Fleet, NotFound
from jobs.engine.audit_log import Actor
from jobs.engine.draining import drain
from jobs.engine.survey.shapes import Told

Kind = Literal["queue", "lane", "worker"]
LONGEST_OPEN = timedelta(days=1)


class Steered(Told):
    """What was done: to which queue, lane, worker or breaker, how it is now, and whether it was not so before."""

    kind: Literal["queue", "lane", "worker", "breaker"]
    name: str
    state: str
    sentence: str
    changed: bool = True


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
    sentence = f"Worker {name} takes nothing more and ends with what it runs."
    changed = worker is None or worker.state != "draining"
    done = Steered(kind="worker", name=name, state="draining", sentence=sentence, changed=changed)
    return _told(fleet, by, "worker.drain", done, before, {"state": "draining"})


def open_breaker(fleet: Fleet, lane: str, provider: str, for_: timedelta, reason: str, by: Actor) -> Steered:
    """Have a lane's jobs wait for at least so long. Raises NeedsRedis too."""
    now, name = fleet.breakers.open(lane, provider, min(for_, LONGEST_OPEN), reason), f"{lane}/{provider}"
    after = {"state": now.state, "seconds": round(now.wait.total_seconds()), "reason": reason}
    done = Steered(kind="breaker", name=name, state=now.state, sentence=f"Breaker {name} is open.")
    return _told(fleet, by, "breaker.open", done, {"state": now.before}, after)


def close_breaker(fleet: Fleet, lane: str, provider: str, by: Actor) -> Steered:
    """Have a lane go on at once."""
    now, name = fleet.breakers.close(lane, provider), f"{lane}/{provider}"
    sentence, changed = f"Breaker {name} is closed; its lane goes on.", now.before != "closed"
    done = Steered(kind="breaker", name=name, state=now.state, sentence=sentence, changed=changed)
    return _told(fleet, by, "breaker.close", done, {"state": now.before}, {"state": now.state})


def _pause(fleet: Fleet, kind: Kind, name: str, by: Actor, is_pause: bool) -> Steered:
    what = f"{kind}:{name}"
    if what not in fleet.pauses.all():
        _refuse_unknown(fleet, kind, name)
    before = fleet.pauses.switch(what, paused=is_pause)
    told = "is paused: it begins no further jobs, and what runs goes on" if is_pause else "goes on"
    state, sentence = "paused" if is_pause else "ready", f"{kind.capitalize()} {name} {told}."
    done = Steered(kind=kind, name=name, state=state, sentence=sentence, changed=before != is_pause)
    action = f"{kind}.{'pause' if is_pause else 'resume'}"
    return _told(fleet, by, action, done, {"paused": before}, {"paused": is_pause})


def _told(
    fleet: Fleet, by: Actor, action: str, done: Steered, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> Steered:
    """The same, with its line in the audit log; where nothing changed both say so."""
    unchanged = {} if done.changed else {"changed": False}
    fleet.audit.record(action=action, target=done.name, by=by, before=before, after={**after, **unchanged})
    if done.changed:
        return done
    state = "not paused" if done.state == "ready" else f"{done.state} already"
    sentence = f"{done.kind.capitalize()} {done.name} was {state}; nothing is changed."
    return done.model_copy(update={"sentence": sentence})


def _refuse_unknown(fleet: Fleet, kind: Kind, name: str) -> None:
    """A mistyped name must not look as if it had been paused; the engine knows the lanes itself."""
    if kind == "queue" and name not in fleet.survey.names:
        raise NotFound(f"there is no queue {name!r}; there are {', '.join(fleet.survey.names)}")
    if kind == "worker" and name not in {worker.name for worker in fleet.survey.workers()}:
        raise NotFound(f"there is no worker {name!r}")
