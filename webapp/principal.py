"""Who makes a request: the value that tokens and sessions are turned into and that routes ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from jobs.settings import Role

OPERATORS = "operators"
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""Each may what those before it may."""
SCOPES = frozenset({"documents:read", "documents:write", "jobs:read", "jobs:write", "admin"})

_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Standing(NamedTuple):
    """The account of a session, a keyed hash of what it was at the sign-in, and its era then."""

    account: str
    proof: str
    era: str


@dataclass(frozen=True)
class Principal:
    """An authenticated caller: its subject, the tenant it belongs to, what it may do there, and its sign-in.

    `fleet_wide`: its role counts for every tenant's jobs, not only for those of its own. `standing` is that of an
    account's session.
    """

    subject: str
    tenant: str
    scopes: frozenset[str]
    roles: frozenset[str] = field(default_factory=frozenset)
    until: datetime | None = field(default=None, compare=False)
    sign_in: str = field(default="", compare=False)
    fleet_wide: bool = False
    standing: Standing | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not _TENANT.fullmatch(self.tenant):
            raise ValueError("a tenant is 1 to 64 letters, digits, dots, dashes or underscores")

    def may(self, *scopes: str) -> bool:
        """Whether every one of `scopes` was granted."""
        return self.scopes.issuperset(scopes)

    @property
    def role(self) -> Role | None:
        """The highest of its roles, as which the scope `admin` counts too; None for who operates nothing."""
        held = self.roles | ({"admin"} & self.scopes)
        return next((role for role in reversed(ROLES) if role in held), None)
