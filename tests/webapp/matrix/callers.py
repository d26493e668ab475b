"""Everybody who may knock: nobody, users of two tenants, and each role by session and token, bound and not."""

from __future__ import annotations

from dataclasses import dataclass

from apiflask import APIFlask
from flask.testing import FlaskClient

from tests.webapp.operators import TENANT, bearer_of, csrf_of, enter
from webapp.auth import SCOPES, make_token

Header = dict[str, str]
OTHER = "b"
RANKS = (None, "viewer", "operator", "admin")


@dataclass(frozen=True)
class Caller:
    """`tenant`: whose things they may see at most; None with a role: everybody's."""

    by: str
    role: str | None = None
    tenant: str | None = None
    read_only: bool = False

    def __str__(self) -> str:
        about = f"{self.by} {self.role or ''} {'of ' + self.tenant if self.tenant else ''}"
        return " ".join((about + (" in read-only mode" if self.read_only else "")).split())


ROLES = [Caller(by, role, tenant) for by in ("session", "token") for role in RANKS[1:] for tenant in (None, TENANT)]
CALLERS = [
    Caller("nobody"),
    Caller("user", tenant=TENANT),
    Caller("user", tenant=OTHER),
    *ROLES,
    *(Caller(by, "admin", tenant, read_only=True) for by in ("session", "token") for tenant in (None, TENANT)),
]


class Doors:
    """A client and headers for each caller, at the application itself or at a read-only one beside it."""

    def __init__(self, app: APIFlask, read_only: APIFlask) -> None:
        self._apps = {False: app, True: read_only}
        self._known: dict[Caller, tuple[FlaskClient, Header]] = {}

    def of(self, caller: Caller) -> tuple[FlaskClient, Header]:
        if caller not in self._known:
            self._known[caller] = self._opened(caller)
        return self._known[caller]

    def anew(self, caller: Caller) -> tuple[FlaskClient, Header]:
        """Another sign-in of theirs, which may be ended."""
        return self._opened(caller)

    def _opened(self, caller: Caller) -> tuple[FlaskClient, Header]:
        app = self._apps[caller.read_only]
        if caller.by == "session":
            client = enter(app, f"{caller.role}-{caller.tenant}" if caller.tenant else str(caller.role))
            return client, csrf_of(client)
        if caller.by == "token":
            return app.test_client(), bearer_of(app, str(caller.role), caller.tenant or "operators")
        if caller.by == "user":
            token = make_token(app.extensions["settings"], str(caller.tenant), SCOPES - {"admin"}, "user")
            return app.test_client(), {"Authorization": f"Bearer {token}"}
        return app.test_client(), {}
