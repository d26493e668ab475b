"""Limits of the whole fleet: how many runs at once, of a type or for each value of a field, and turns between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import quote

from jobs.engine.errors import InvalidJob
from jobs.engine.payloads import Payload, Secret

LONGEST_VALUE = 64


@dataclass(frozen=True)
class Limit:
    """At most `count` runs at once in the fleet, of the type or (`per`) with the same values of these payload fields.

    `fair` names a payload field, such as the tenant, whose values take turns: a value's next job is queued when its
    last one begins, so many jobs of one value delay another's by one job a slot.
    """

    count: int | None = None
    per: str | Sequence[str] = ()
    fair: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "per", (self.per,) if isinstance(self.per, str) else tuple(self.per))
        if self.count is None and (self.fair is None or self.per):
            raise InvalidJob("a limit is a number of runs, Limit(2), or takes turns, Limit(fair='tenant_id')")
        if self.count is not None and self.count < 1:
            raise InvalidJob("a limit lets at least one job run")


def check(name: str, payload_type: type[Payload], limits: Sequence[Limit]) -> None:
    """Raise InvalidJob for two of one kind, and for a limit by what is no field of the payload, or a secret one."""
    names = [_name(name, limit) for limit in limits if limit.count is not None]
    if len(set(names)) < len(names) or sum(limit.fair is not None for limit in limits) > 1:
        raise InvalidJob(f"{name}: two of its limits are of the same kind")
    for field in (field for limit in limits for field in (*limit.per, limit.fair) if field is not None):
        known = payload_type.model_fields.get(field)
        if known is None:
            raise InvalidJob(f"{name}: its limit is by {field!r}, which is no field of {payload_type.__name__}")
        if is_secret(known.annotation):
            raise InvalidJob(f"{name}: its limit is by {field!r}, a secret whose values would stand in Redis' keys")


def one_after_another(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """These limits and, if none counts the runs of the type as a whole, one run at once."""
    counted = any(limit.count is not None and not limit.per for limit in limits)
    return limits if counted else (*limits, Limit(1))


def counts(job_type: str, limits: Iterable[Limit]) -> dict[str, int]:
    """How many may run at once, by the name of the limit: what a worker holds a type's jobs to."""
    return {_name(job_type, limit): limit.count for limit in limits if limit.count is not None}


def gates_of(job_type: str, limits: Sequence[Limit], payload: Payload) -> str:
    """The gates that a job passes one after another before it runs: `KEY=COUNT`, with spaces between.

    Limits by the very value that takes turns come before the turn, so that a job that has to wait for its own kind
    keeps nobody's turn; all others come after it, so that jobs reach them in turn.
    """
    fair = next((limit.fair for limit in limits if limit.fair), None)
    counted = [limit for limit in limits if limit.count is not None]
    first = [limit for limit in counted if fair in limit.per]
    turn = [f"turn:{job_type}:{fair}:{_value(payload, (fair,))}=1"] if fair else []
    last = [limit for limit in counted if fair not in limit.per]
    return " ".join([*_gates(job_type, first, payload), *turn, *_gates(job_type, last, payload)])


def _gates(job_type: str, limits: Iterable[Limit], payload: Payload) -> list[str]:
    return [
        f"{':'.join(filter(None, (_name(job_type, each), _value(payload, each.per))))}={each.count}" for each in limits
    ]


def _name(job_type: str, limit: Limit) -> str:
    return ":".join(["limit", job_type, *([",".join(limit.per)] if limit.per else [])])


def is_secret(annotation: Any) -> bool:
    """Whether a field of that annotation is, or may be, a `Secret`."""
    parts = (annotation, *get_args(annotation))
    return any(getattr(part, "__origin__", part) is Secret for part in parts)


def _value(payload: Payload, fields: Sequence[str]) -> str:
    if not fields:
        return ""
    values: Mapping[str, Any] = payload.model_dump(mode="json", include=set(fields))
    text = ",".join(quote(_plain(values[field]), safe="") for field in fields)
    return text if len(text) <= LONGEST_VALUE else hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
