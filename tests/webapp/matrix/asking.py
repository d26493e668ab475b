"""Asking a route as somebody about somebody's thing, and what the table says of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any
from uuid import uuid4

from apiflask import APIFlask
from werkzeug.routing import Rule

from tests.webapp.matrix.callers import CALLERS, OTHER, RANKS, Caller, Doors
from tests.webapp.matrix.rows import PLACES, ROWS, Row
from tests.webapp.matrix.world import World, marker
from tests.webapp.operators import PAGE, TENANT
from webapp.operators import API

LOGIN = "to the login"
Cell = tuple[Row, str, Rule, Caller, str]


def routes(app: APIFlask) -> Iterator[tuple[str, str, Rule]]:
    """Method, name in the table and rule of each route."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, f"{method} {rule.endpoint}", rule


def cells(app: APIFlask) -> list[Cell]:
    """Each route for each caller; those about a tenant's thing for both tenants."""
    return [
        (ROWS[name], method, rule, caller, owner)
        for method, name, rule in routes(app)
        for caller in CALLERS
        for owner in ((TENANT, OTHER) if ROWS[name].thing else ("",))
    ]


def is_allowed(cell: Cell) -> bool:
    row, *_ = cell
    return expected(cell) == row.ok and row.who != "public"


def expected(cell: Cell) -> int | str:
    """What the table says."""
    row, method, rule, caller, owner = cell
    is_api = rule.rule.startswith(API)
    if row.who == "public":
        return row.in_session if row.in_session and caller.by == "session" else row.ok
    if row.who == "scopes":
        return _for_users(row, caller, owner)
    nobody: int | str = LOGIN if method == "GET" and not is_api else 401
    if caller.by == "nobody" or (caller.by in ("user", "token") and not is_api):
        return nobody
    if RANKS.index(caller.role) < RANKS.index(row.who):
        return 403
    if (row.wide and caller.tenant) or (caller.read_only and method != "GET"):
        return 403
    return row.foreign if owner and caller.tenant not in (None, owner) else row.ok


def _for_users(row: Row, caller: Caller, owner: str) -> int:
    if caller.by != "user":
        return 401 if caller.by == "nobody" else 403
    return 404 if owner not in ("", caller.tenant) else row.ok


def tried(world: World, doors: Doors, cell: Cell) -> str:
    """What is wrong with the answer, if anything."""
    row, method, rule, caller, owner = cell
    acts, request_id = is_allowed(cell) and method != "GET", uuid4().hex
    status, text = ask(world, doors, cell, fresh=acts, headers={"X-Request-ID": request_id})
    told = f"{method} {rule} about {owner or 'nobody'}'s by {caller}: {status}"
    if status != expected(cell):
        return f"{told} instead of {expected(cell)}: {text[:300]}"
    if any(marker(tenant) in text for tenant in unseen(cell)):
        return f"{told} tells too much: {text[:300]}"
    unwritten = acts and row.written and world.fleet.audit.search(limit=1).items[0].correlation_id != request_id
    return f"{told} is not in the audit log" if unwritten else ""


def unseen(cell: Cell) -> set[str]:
    """The tenants of whom the answer must not hold a word."""
    _row, _, _, caller, _ = cell
    if not is_allowed(cell):
        return {TENANT, OTHER}
    return {TENANT, OTHER} - {caller.tenant} if caller.tenant else set()


def ask(
    world: World, doors: Doors, cell: Cell, *, fresh: bool = False, headers: Mapping[str, str]
) -> tuple[int | str, str]:
    """The answer's status, or LOGIN, and its text; streams are not read."""
    row, method, rule, caller, owner = cell
    thing = (world.another if fresh else world.one)(row.thing, owner) if owner else {}
    if owner == "" and row.who == "scopes" and "slug" in rule.arguments:
        thing = world.one("workspace", TENANT)
    client, own = (doors.anew if row.ends_sign_in else doors.of)(caller)
    sent_headers = {**PAGE, **own, **headers}
    if row.before and is_allowed(cell):
        getattr(world, row.before)()
    if "/login" in rule.rule:
        world.fleet.notes.forget("login:address:127.0.0.1")
    words = {**thing, "who": caller.tenant}
    sent: dict[str, Any] = {"data": filled(row.form, words)} if row.json is None else {"json": filled(row.json, words)}
    if row.files:
        sent = {"data": {"files": [(BytesIO(b"new"), "new.txt")]}}
    place = address(rule, {**PLACES, **row.values, **thing})
    answer = client.open(place, method=method, query_string=filled(row.query, words), headers=sent_headers, **sent)
    if answer.status_code == 308:  # another spelling of the same page
        answer = client.get(answer.location, headers=sent_headers)
    if answer.mimetype == "text/event-stream":
        answer.close()
        return answer.status_code, ""
    to_login = answer.status_code == 303 and answer.location.startswith("/admin/login?next=")
    text = answer.get_data().decode(errors="replace")
    answer.close()
    return (LOGIN if to_login else answer.status_code), text


def filled(wanted: Any, words: dict[str, Any]) -> Any:
    """What a row sends, with the names in braces of its texts replaced."""
    if isinstance(wanted, Mapping):
        return {name: filled(value, words) for name, value in wanted.items()}
    return wanted.format(**words) if isinstance(wanted, str) else wanted


def address(rule: Rule, values: dict[str, Any]) -> str:
    built = rule.build({name: values[name] for name in rule.arguments}, append_unknown=False)
    assert built is not None
    return built[1]
