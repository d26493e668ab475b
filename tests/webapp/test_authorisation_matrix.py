"""Every route of the application, asked by everybody, about things of two tenants: each answer as the table says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from apiflask import APIFlask

from jobs.settings import Settings
from tests.webapp.matrix.asking import LOGIN, ask, cells, expected, is_allowed, routes, tried
from tests.webapp.matrix.callers import OTHER, RANKS, Caller, Doors
from tests.webapp.matrix.rows import ROWS
from tests.webapp.matrix.world import World, marker
from tests.webapp.operators import TENANT, accounts
from webapp import create_app

SIGN_INS = ("operator.sign-", "sign-in.")
SEEDS = sorted({row.thing for row in ROWS.values() if row.thing} | {"audit line"})


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


def test_every_route_has_a_row_and_every_row_a_route(app: APIFlask) -> None:
    assert {name for _, name, _ in routes(app)} == set(ROWS)


FROM_ELSEWHERE = [
    {"X-CSRF-Token": ""},
    {"X-CSRF-Token": "guessed"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


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


def test_nothing_is_changed_from_elsewhere_or_without_the_token(app: APIFlask, world: World, doors: Doors) -> None:
    """Of what takes a role, by who may: token, origin and the browser's word on the site each have to be right."""
    admin, before = Caller("session", "admin"), snapshot(world)
    changes = [cell for cell in cells(app) if cell[0].who in RANKS and cell[1] != "GET" and cell[3] == admin]
    assert len(changes) > 20
    for cell in changes:
        for headers in FROM_ELSEWHERE:
            status, text = ask(world, doors, cell, headers=headers)
            assert status == 403 and "security token" in text, (cell, headers)
    assert snapshot(world) == before


def test_who_is_bound_to_a_tenant_does_not_get_another_ones_by_naming_it(
    app: APIFlask, world: World, doors: Doors
) -> None:
    """Whatever a list is asked for."""
    lists = [cell for cell in cells(app) if cell[0].who in RANKS and cell[1] == "GET" and not cell[4]]
    bound = [cell for cell in lists if is_allowed(cell) and cell[3].tenant == TENANT]
    assert len(bound) > 20
    for row, method, rule, caller, _ in bound:
        for words in ({"tenant": OTHER}, {"text": marker(OTHER)}, {"tenant": ""}, {"where": OTHER}):
            cell = (replace(row, query={**row.query, **words}), method, rule, caller, "")
            status, text = ask(world, doors, cell, headers={})
            assert status in (row.ok, 404, 422), (rule, caller, words, status)
            assert marker(OTHER) not in text.replace(words.get("text", ""), ""), (rule, caller, words)


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
    return kept | {"audit": [line.id for line in lines if not line.action.startswith(SIGN_INS)]}
