"""Draining a worker: it takes nothing more, ends what it runs, however long that takes, and then itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.errors import Conflict, NotFound

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet


def drain(fleet: Fleet, name: str) -> None:
    """Ask a worker, this fleet's or RQ's own; asking twice is as good as once.

    Raises NotFound for no such living worker, Conflict where it does not listen at this moment, NeedsRedis,
    BrokerUnavailable.
    """
    client = fleet.redis
    worker = next((each for each in fleet.survey.workers() if each.name == name and each.state != "lost"), None)
    if worker is None:
        raise NotFound(f"there is no living worker {name!r}")
    command = {"command": "drain" if worker.is_ours else "shutdown"}
    with translate_errors():
        heard = client.publish(keys.commands(name), json.dumps(command))
    if not heard:
        raise Conflict(f"worker {name!r} does not listen at this moment; try again")
