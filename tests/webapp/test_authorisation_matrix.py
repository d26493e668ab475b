"""Every route of the application, asked by everybody, about things of two tenants: each answer as the table says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import pytest
from apiflask import APIFlask
from werkzeug.routing import Rule

from jobs.settings import Settings
from tests.webapp.matrix.callers import CALLERS, OTHER, RANKS, Caller, Doors
from tests.webapp.matrix.rows import PLACES, ROWS, Row
from tests.webapp.matrix.world import World, marker
from tests.webapp.operators import PAGE, TENANT, accounts
from webapp import create_app
from webapp.operators import API

LOGIN = "to the login"
SEEDS = sorted({row.thing for row in ROWS.values() if row.thing} | {"audit line"})
Cell = tuple[Row, str, Rule, Caller, str]


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts(), "JOB_MODULES": "jobs.domains,tests.engine.samples"}


@pytest.fixture
def world(app: APIFlask) -> World:
    world = World(app)
    for tenant in (TENANT, OTHER):
        for kind in SEEDS:
            world.one(kind, tenant)
    return world


@pytest.fixture
def doors(app: APIFlask, settings: Settings) -> Doors:
    return Doors(app, create_app(settings.model_copy(update={"console_read_only": True})))


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


def test_every_route_has_a_row_and_every_row_a_route(app: APIFlask) -> None:
    assert {name for _, name, _ in routes(app)} == set(ROWS)


def test_each_cell_is_answered_as_the_table_says(app: APIFlask, world: World, doors: Doors) -> None:
    """First all that is refused, which leaves everything as it is; then what may be done, on a thing of its own."""
    found = {True: [], False: []}
    for cell in cells(app):
        found[expected(cell) in (LOGIN, 401, 403, 404)].append(cell)
    refused, allowed = found[True], found[False]
    before = snapshot(world)
    wrong = [told for cell in refused if (told := tried(world, doors, cell))]
    assert not wrong, "\n".join(wrong)
    assert snapshot(world) == before
    wrong = [told for cell in allowed if (told := tried(world, doors, cell))]
    assert not wrong, "\n".join(wrong)
    assert len(refused) > len(allowed) > 300


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
    _row, method, rule, caller, owner = cell
    status, text = ask(world, doors, cell, fresh=is_allowed(cell) and method != "GET")
    told = f"{method} {rule} about {owner or 'nobody'}'s by {caller}: {status}"
    if status != expected(cell):
        return f"{told} instead of {expected(cell)}: {text[:300]}"
    return f"{told} tells too much" if any(marker(tenant) in text for tenant in unseen(cell)) else ""


def unseen(cell: Cell) -> set[str]:
    """The tenants of whom the answer must not hold a word."""
    _row, _, _, caller, _ = cell
    if not is_allowed(cell):
        return {TENANT, OTHER}
    return {TENANT, OTHER} - {caller.tenant} if caller.tenant else set()


def ask(world: World, doors: Doors, cell: Cell, *, fresh: bool) -> tuple[int | str, str]:
    """The answer's status, or LOGIN, and its text; streams are not read."""
    row, method, rule, caller, owner = cell
    thing = (world.another if fresh else world.one)(row.thing, owner) if owner else {}
    if owner == "" and row.who == "scopes" and "slug" in rule.arguments:
        thing = world.one("workspace", TENANT)
    client, headers = (doors.anew if row.ends_sign_in else doors.of)(caller)
    if row.before and is_allowed(cell):
        getattr(world, row.before)()
    world.fleet.notes.forget("login:address:127.0.0.1")
    words = {**thing, "who": caller.tenant}
    sent: dict[str, Any] = {"data": filled(row.form, words)} if row.json is None else {"json": filled(row.json, words)}
    if row.files:
        sent = {"data": {"files": [(BytesIO(b"new"), "new.txt")]}}
    place = address(rule, {**PLACES, **row.values, **thing})
    answer = client.open(place, method=method, query_string=filled(row.query, words), headers=PAGE | headers, **sent)
    if answer.status_code == 308:  # another spelling of the same page
        answer = client.get(answer.location, headers=PAGE | headers)
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


def dump(redis: Any, key: bytes) -> Any:
    """What a key holds; a hash field by field, for its order is not always the same."""
    return redis.hgetall(key) if redis.type(key) == b"hash" else redis.dump(key)


def snapshot(world: World) -> dict[str, Any]:
    """All that there is in Redis but for what the login page and sign-outs note, and every line of the audit log."""
    redis = world.fleet.redis
    kept: dict[str, Any] = {
        key.decode(): dump(redis, key) for key in redis.scan_iter("*", count=1000) if b":web:" not in key
    }
    lines = world.fleet.audit.search(limit=1000).items
    return kept | {"audit": [line.id for line in lines if line.action != "operator.sign-in"]}
