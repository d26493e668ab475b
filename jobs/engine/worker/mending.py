"""Keys of ours that somebody made another kind of key: put aside, and made anew where that can be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.scripts import script

KINDS: Mapping[str, str] = {
    "leases": "zset",
    "batches": "zset",
    "workers": "zset",
    "worker-queues": "hash",
    "dead": "set",
    "reaper": "string",
    "holds": "hash",
    "gates": "zset",
    "breakers": "zset",
    "paused": "set",
    "alone-claim": "string",
    "follow-ups": "zset",
    "workflows": "zset",
    "workflows:running": "zset",
    "workflows:ended": "zset",
    "stuck": "zset",
    "counters": "hash",
    "ledger": "stream",
    "quarantine": "zset",
    "quarantine:reasons": "hash",
    "dead-letters": "zset",
    "dead-letters:known": "hash",
    "dead-letters:groups": "zset",
    "dead-letters:places": "hash",
    "exhausted": "hash",
    "statistics:total": "hash",
    "workers-changed": "string",
    "event-clock": "string",
}
"""The keys after `PREFIX:fleet:` without which nobody works, and what kind each is; besides them those of queues."""
LINES = "waiting-queues:"
KINDS_OF_GATES: Mapping[str, str] = {
    "waiting:": "list",
    LINES: "set",
    "admitted:": "zset",
    "held:": "zset",
    "window:": "list",
}
"""How the keys of gates begin, and what kind each is."""
AT_ONCE = 1000


def is_strange(error: Exception) -> bool:
    """Whether Redis said that a key is of another kind than a command is for."""
    return isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)


def mend(client: redis.Redis, worker: str, queues: Sequence[str], lease: timedelta, deeply: bool = False) -> list[str]:
    """The names of the keys that were put aside (for a week, as `PREFIX:fleet:strange:NAME`). Raises BrokerUnavailable.

    What can be made of other keys is: leases, the workers and their queues, where jobs were put aside, before which
    gates queues have jobs. Of pauses, breakers and lists nothing is left anyway once somebody has written something
    else over them. `deeply` looks at the keys of gates too, which are found among all keys only.
    """
    with translate_errors():
        gates = _kinds_of_gates(client) if deeply else {}
        kinds = {**gates, **KINDS, **_kinds_of_queues(worker, queues)}
        with client.pipeline(transaction=False) as pipe:
            for name in kinds:
                pipe.type(f"{keys.FLEET}:{name}")
            found = dict(zip(kinds, pipe.execute(), strict=True))
        strange = {name: kind for name, kind in kinds.items() if found[name].decode() not in (kind, "none")}
        if not strange:
            return []
        requests = _names(client, "batch:") if "batches" in strange else []
        members = _lanes(client) if any(name.startswith("overflowed:") for name in strange) else {}
        members |= {name: _lines(name, gates) for name in strange if name.startswith(LINES)}
        arguments = [json.dumps(each) for each in (strange, requests, members)]
        aside = script("mend")(client, keys.PREFIX, int(lease.total_seconds() * 1000), *arguments)
    return sorted(name.decode() for name in aside)


def _kinds_of_queues(worker: str, queues: Sequence[str]) -> dict[str, str]:
    kinds = {f"lease-reply:{worker}": "string"}
    for queue in queues:
        kinds |= {f"overflowed:{queue}": "set", f"inbox:{worker}:{queue}": "list"}
    return kinds


def _kinds_of_gates(client: redis.Redis) -> dict[str, str]:
    """Looks at all keys once."""
    names = _names(client, "")
    return {name: kind for name in names for start, kind in KINDS_OF_GATES.items() if name.startswith(start)}


def _lanes(client: redis.Redis) -> dict[str, list[str]]:
    """The lanes that have a list of jobs put aside, by the key that names them."""
    lanes: dict[str, list[str]] = {}
    for name in _names(client, "overflow:"):
        queue, _, lane = name.rpartition(":")
        lanes.setdefault(f"overflowed:{queue}", []).append(lane)
    return lanes


def _lines(name: str, gates: Iterable[str]) -> list[str]:
    """The queues that have a list before the gate, by the names of such lists."""
    gate = name.removeprefix(LINES)
    found = [each for each in gates if each.startswith("waiting:") and each.endswith(f":{gate}")]
    return [each.removeprefix("waiting:").removesuffix(f":{gate}") for each in found]


def _names(client: redis.Redis, kind: str) -> list[str]:
    """What follows in the names of the keys that begin so; looks at all keys, a thousand a call."""
    start = f"{keys.FLEET}:{kind}"
    return [key.decode().removeprefix(start) for key in client.scan_iter(match=f"{start}*", count=AT_ONCE)]
