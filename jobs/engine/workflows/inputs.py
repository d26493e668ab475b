"""Inputs: what a node's job is given of other nodes, merged into its payload when it runs and only then validated."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.envelope import Envelope
from jobs.engine.errors import BrokerUnavailable, Permanent, Untrusted
from jobs.engine.payloads import MAX_PAYLOAD_BYTES
from jobs.engine.scripts import script
from jobs.engine.views import JobError

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

LOOK_AGAIN = timedelta(seconds=0.5)
TOO_LARGE = b"!"
COMPLETED = b"completed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands: its workflow, its node, and which nodes right before it did not complete, with why."""

    workflow_id: str
    node: str
    unfinished: Mapping[str, JobError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a node ended, as Redis says: nothing of it is trusted but that it is text."""

    state: bytes
    why: bytes
    result: bytes


def merged(sealed: Envelope, fleet: Fleet) -> tuple[str, Place]:
    """The payload's JSON text with the results in it, and the job's place. Waits while Redis is away.

    Raises Permanent where a result is missing, too large or has not the named part; Untrusted.
    """
    try:
        flow = json.loads(sealed.flow)
        workflow_id, node, wanted, told = flow["w"], flow["n"], flow["in"], flow["told"]
    except (ValueError, KeyError, TypeError):
        raise Untrusted("the job's place in its workflow can't be read") from None
    names = list(dict.fromkeys([*(each[1] for each in wanted), *told]))
    if not names:
        return sealed.payload, Place(workflow_id, node)
    ended = _ask(fleet, workflow_id, names)
    payload = json.loads(sealed.payload)
    for each in wanted:
        _put(payload, each[0], _value(each, ended[each[1]]))
    text = json.dumps(payload)
    if len(text) > MAX_PAYLOAD_BYTES:
        raise Permanent(f"with its results the payload is over {MAX_PAYLOAD_BYTES} bytes: pass keys of stored data")
    unfinished = {name: _error(ended[name]) for name in told if ended[name].state != COMPLETED}
    return text, Place(workflow_id, node, unfinished)


def _ask(fleet: Fleet, workflow_id: str, names: list[str]) -> dict[str, Ended]:
    """How these nodes ended. Redis being away is no failure of the job, which has a time limit of its own."""
    most = MAX_PAYLOAD_BYTES * 4 // 3
    while True:
        try:
            with translate_errors():
                reply: Any = script("workflow_inputs")(fleet.redis, keys.PREFIX, workflow_id, most, *names)
            break
        except BrokerUnavailable:
            time.sleep(LOOK_AGAIN.total_seconds())
    if isinstance(reply, bytes):
        raise Permanent(f"the results it takes are over {MAX_PAYLOAD_BYTES} bytes together: pass keys of stored data")
    return {name: Ended(*reply[3 * n : 3 * n + 3]) for n, name in enumerate(names)}


def _value(wanted: list[Any], ended: Ended) -> Any:
    """The part of a result that `wanted` names: [place, node, path], and what stands for it if there is none."""
    _, node, path, *otherwise = wanted
    if ended.state != COMPLETED:
        if otherwise:
            return otherwise[0]
        raise Permanent(f"{node} did not complete, and its result is needed")
    if ended.result == TOO_LARGE:
        raise Permanent(f"the result of {node} is too large to be passed on: store it and return its key")
    try:
        value = json.loads(b64decode(ended.result) or b"null")
    except (ValueError, RecursionError):
        raise Permanent(f"the result of {node} can't be read") from None
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            raise Permanent(f"the result of {node} has no {key!r}") from None
    return value


def _put(payload: Any, place: list[str | int], value: Any) -> None:
    at = payload
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value


def _error(ended: Ended) -> JobError:
    try:
        return JobError.model_validate_json(ended.why)
    except ValueError:
        return JobError(type="Failed", message="it did not complete")
