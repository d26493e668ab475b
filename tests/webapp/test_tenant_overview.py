"""The overview of who is bound to a tenant: what is of that, counted and listed as far as a moment allows."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet
from jobs.engine.inspection import tally
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from tests.conftest import RedisServer
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import jobs as samples
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import PAGE, Header, accounts, bearer_of, enter

COUNTS = "/admin/queues/api/counts"


@pytest.fixture
def environ(environ: Header) -> Header:
    return environ | {"JOB_MODULES": "tests.engine.samples,tests.engine.kitted", "OPERATORS": accounts()}


def counts(client: FlaskClient, headers: Header, **query: str) -> dict[str, tuple[int, bool]]:
    answer = client.get(COUNTS, query_string=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return {each["state"]: (each["count"], each["more"]) for each in answer.json["items"] if each["count"]}


@BOTH_WAYS
def test_a_tenants_jobs_are_counted_and_listed_and_no_others(app: APIFlask, client: FlaskClient) -> None:
    ours = [samples.double.enqueue({"value": 1}, tenant="a").id for _ in range(3)]
    theirs = samples.double.enqueue({"value": 1}, tenant="b").id
    samples.double.enqueue_in(timedelta(hours=1), {"value": 1}, tenant="a")
    page = enter(app, "viewer-a").get("/admin/queues", headers=PAGE).text
    assert all(str(job) in page for job in ours) and str(theirs) not in page
    facts = dict(re.findall(r'state=(\w+)">([\d,+]+)<', page))
    assert facts == dict.fromkeys(facts, "0") | {"queued": "3", "scheduled": "1"} and len(facts) == 8
    told = {"queued": (3, False), "scheduled": (1, False)}
    assert counts(client, bearer_of(app, "viewer", "a")) == counts(client, bearer_of(app, "viewer"), tenant="a") == told
    assert counts(client, bearer_of(app, "viewer", "b")) == {"queued": (1, False)}
    assert client.get(f"{COUNTS}?tenant=b", headers=bearer_of(app, "admin", "a")).status_code == 404
    assert client.get(COUNTS, headers=bearer_of(app, "viewer")).status_code == 422


def test_while_redis_is_away_it_shows_what_the_ledger_knows_and_says_what_is_missing(
    app: APIFlask, fleet: Fleet, redis_server: RedisServer
) -> None:
    known = fleet.enqueue("kitted.counts", {"text": "word"}, tenant="a").id
    viewer = enter(app, "viewer-a")
    redis_server.stop()
    try:
        answer = viewer.get("/admin/queues", headers=PAGE)
    finally:
        redis_server.start()
    assert answer.status_code == 200
    assert str(known) in answer.text
    assert "Redis does not answer" in answer.text
    assert "Dead letters and workflows can't be shown while Redis is away" in html.unescape(answer.text)


def test_its_dead_letters_are_there(app: APIFlask, fleet: Fleet) -> None:
    for tenant in ("a", "b"):
        samples.double.enqueue({"value": 2}, tenant=tenant)
        (running,) = lease(leases_of(fleet))
        settle(leases_of(fleet), (running, of_error(OSError(f"disk of {tenant}"), Retry(max_retries=0), 1)))
    page = enter(app, "operator-a").get("/admin/queues", headers=PAGE).text
    assert "disk of a" in page and "disk of b" not in page


def test_what_is_counted_is_bounded_and_says_so(
    app: APIFlask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples.double.enqueue_many([{"value": 1}] * 30, tenant="a")
    monkeypatch.setattr(tally, "MOST", 10)
    assert counts(client, bearer_of(app, "viewer", "a")) == {"queued": (10, True)}
    assert ">10+<" in enter(app, "viewer-a").get("/admin/queues", headers=PAGE).text
