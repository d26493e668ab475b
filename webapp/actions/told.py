"""The line that the audit log gets of one thing that was changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from jobs.engine import Fleet
from jobs.engine.audit_log import Actor


class Changed(Protocol):
    """A job or a workflow as it is after the action."""

    @property
    def id(self) -> str: ...

    @property
    def tenant(self) -> str | None: ...


def tell(
    fleet: Fleet, by: Actor, action: str, thing: Changed, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Record it, of the thing's tenant."""
    fleet.audit.record(
        action=action, target=thing.id, by=by, before=dict(before), after=dict(after), tenant=thing.tenant or None
    )
