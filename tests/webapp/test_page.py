"""The page over HTTP: whose workspace it shows, what it may load, and that names are text."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import event

from jobs.domains.documents import service
from webapp.sessions import make_ticket


@pytest.fixture
def visitor(app: APIFlask) -> FlaskClient:
    client = app.test_client()
    client.get("/dev/sign-in", query_string={"ticket": make_ticket(app.extensions["settings"])})
    return client


def csrf(client: FlaskClient) -> str:
    with client.session_transaction() as session:
        return str(session["csrf"])


def test_the_default_workspace_is_made_on_the_first_visit_and_only_then(visitor: FlaskClient) -> None:
    shown = [re.findall(r'data-workspace="(\w+)"', visitor.get("/").text) for _ in range(2)]
    assert shown[0] == shown[1] and len(shown[0]) == 1
    listed = visitor.get("/api/workspaces").get_json()["items"]
    assert [workspace["slug"] for workspace in listed] == ["default"]


def test_of_two_first_visits_at_once_both_see_the_page(visitor: FlaskClient, app: APIFlask) -> None:
    """The other one has made the workspace after this one looked for it, and before this one makes it."""
    database, looked = app.extensions["database"], threading.Event()

    def look(*_: object) -> None:
        looked.set()

    with ThreadPoolExecutor(1) as pool:
        with database.begin() as session:
            service.create_workspace(session, "dev", "default", "Theirs")
            event.listen(database.engine, "checkin", look)  # of the connection that has read
            visit = pool.submit(visitor.get, "/")
            assert looked.wait(30)
            event.remove(database.engine, "checkin", look)
        assert visit.result(30).status_code == 200
    listed = visitor.get("/api/workspaces").get_json()["items"]
    assert [workspace["name"] for workspace in listed] == ["Theirs"]


def test_another_workspace_has_a_page_of_its_own_and_its_name_is_text(visitor: FlaskClient) -> None:
    name = "<script>alert(1)</script>"
    made = visitor.post(
        "/api/workspaces", json={"slug": "papers", "name": name}, headers={"X-CSRF-Token": csrf(visitor)}
    )
    assert made.status_code == 201
    page = visitor.get("/w/papers").text
    assert name not in page and "&lt;script&gt;" in page
    assert visitor.get("/w/nothing").status_code == 404


def test_a_signed_out_visitor_gets_no_workspace(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "You are signed out" in page and "data-workspace" not in page
    assert "data-workspace" not in client.get("/w/default").text


def test_the_page_runs_under_the_strict_policy_without_inline_code(visitor: FlaskClient) -> None:
    answer = visitor.get("/")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|javascript:", answer.text)


@pytest.mark.parametrize(
    "kept", ["css/app.css", "js/main.js", "fonts/inter-latin.woff2", "fonts/LICENSE-inter.txt", "icon.svg"]
)
def test_what_the_page_loads_is_served_by_us(visitor: FlaskClient, kept: str) -> None:
    assert visitor.get(f"/static/{kept}").status_code == 200
    page = visitor.get("/").text
    assert not re.search(r'(?:src|href)="https?:', page)


def test_signing_out_needs_the_token(visitor: FlaskClient) -> None:
    assert visitor.post("/sign-out").status_code == 403
    answer = visitor.post("/sign-out", data={"csrf_token": csrf(visitor)})
    assert (answer.status_code, answer.location) == (303, "/")
    assert "You are signed out" in visitor.get("/").text


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/nothing", "/w/nothing"])
def test_what_is_not_there_is_a_page_for_browsers_and_a_problem_for_programs(visitor: FlaskClient, path: str) -> None:
    page = visitor.get(path, headers={"Accept": BROWSER})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is no such page" in page.text
    for accept in ("*/*", "application/json"):
        assert visitor.get(path, headers={"Accept": accept}).mimetype == "application/problem+json"
    assert visitor.get("/api/nothing", headers={"Accept": BROWSER}).mimetype == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/docs", "/admin/rq/"])
def test_every_page_leads_back_and_signs_out(visitor: FlaskClient, path: str) -> None:
    page = visitor.get(path, follow_redirects=True).text
    assert '<a href="/">' in page
    token = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    assert visitor.post("/sign-out", data={"csrf_token": token[0]}).location == "/"
    assert "You are signed out" in visitor.get("/").text
    assert "Sign out" not in visitor.get("/api/docs").text
