"""The line that the audit log gets of one thing that was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jobs.engine import Fleet
from jobs.engine.audit_log import Actor
from jobs.engine.changes import Change


class Changed(Protocol):
    """A job or a workflow as it is after the action."""

    @property
    def id(self) -> str: ...

    @property
    def tenant(self) -> str | None: ...


def tell(
    fleet: Fleet,
    by: Actor,
    action: str,
    thing: Changed,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    jobs: Sequence[Change] = (),
) -> None:
    """Record it, of the thing's tenant, with the jobs that were changed with it; each of several tenants has a line."""
    is_one_tenants = all(each.tenant == (thing.tenant or "") for each in jobs)
    fleet.audit.record(
        action=action,
        target=thing.id,
        by=by,
        before=dict(before),
        after=dict(after),
        tenant=(thing.tenant or None) if is_one_tenants else None,
        jobs=jobs,
        to_tenants="a job and what waited for it",
    )
