"""Pages offer nobody what they would be refused: neither a button nor a link."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException

from jobs.settings import Settings
from tests.webapp.matrix.asking import address, routes
from tests.webapp.matrix.callers import OTHER
from tests.webapp.matrix.rows import PLACES, ROWS
from tests.webapp.matrix.world import World
from tests.webapp.operators import PAGE, ROLES, TENANT, accounts, enter
from webapp import create_app

FOR_ALL = {"/sign-out"}


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts(), "JOB_MODULES": "jobs.domains,tests.engine.samples"}


@pytest.fixture
def world(app: APIFlask) -> World:
    world = World(app)
    for tenant in (TENANT, OTHER):
        for kind in {row.thing for row in ROWS.values() if row.thing}:
            world.one(kind, tenant)
    world.fleet.breakers.open("chat", "openai", world.fleet.settings.breaker_longest)
    return world


class Offers(HTMLParser):
    """What a page leads to: links, and forms that post."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.forms: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a" and (found.get("href") or "").startswith("/"):
            self.links.add(str(found["href"]))
        if tag == "form" and found.get("method") == "post":
            self.forms.add(urlsplit(found.get("action") or "").path)


def offered(app: APIFlask, world: World, client: FlaskClient) -> Offers:
    """All that the console's pages lead to, for who they open."""
    everything = Offers("")
    for method, name, rule in routes(app):
        row = ROWS[name]
        if method != "GET" or not name.startswith("GET console_") or "/api/" in rule.rule:
            continue
        thing = world.one(row.thing, TENANT) if row.thing else {}
        query = {key: text.format(**thing) for key, text in row.query.items()}
        answer = client.get(address(rule, {**PLACES, **row.values, **thing}), query_string=query, headers=PAGE)
        if answer.status_code == 200:
            page = Offers(answer.text)
            everything.links |= page.links
            everything.forms |= page.forms
    return everything


def needed(app: APIFlask, path: str, method: str) -> tuple[str, bool]:
    """The role that a route takes, and whether nobody of one tenant may."""
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method)
    except HTTPException as error:
        pytest.fail(f"a page leads to {method} {path}, which is {error}")
    row = ROWS[f"{method} {endpoint}"]
    return row.who, row.wide


@pytest.mark.parametrize("tenant", [None, TENANT])
@pytest.mark.parametrize("role", ROLES)
def test_nobody_is_offered_what_takes_more(app: APIFlask, world: World, role: str, tenant: str | None) -> None:
    client = enter(app, f"{role}-{tenant}" if tenant else role)
    found = offered(app, world, client)
    may = {"public", *ROLES[: ROLES.index(role) + 1]}
    for path in found.forms - FOR_ALL:
        who, wide = needed(app, path, "POST")
        assert who in may and not (wide and tenant), path
    for link in found.links:
        who, wide = needed(app, urlsplit(link).path, "GET")
        assert who in may and not (wide and tenant), link
    assert len(found.links) > 5
    assert (len(found.forms) > 3) == (role != "viewer"), found.forms


def test_nothing_is_offered_while_the_console_is_read_only(app: APIFlask, settings: Settings, world: World) -> None:
    read_only = create_app(settings.model_copy(update={"console_read_only": True}))
    found = offered(app, world, enter(read_only, "admin"))
    assert found.forms == FOR_ALL
    assert len(found.links) > 5
