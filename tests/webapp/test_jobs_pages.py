"""The console's pages about jobs, without a browser: what they show, what their forms do, and what they refuse."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet
from jobs.engine.inspection import Where
from tests.engine.samples import jobs as samples
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import Header, csrf_of, enter
from tests.webapp.test_jobs_console import dead, delayed, environ, queued

__all__ = ["environ"]

PAGES = "/admin/queues/jobs"
HOSTILE = "<script>alert('canary')</script>"


@pytest.fixture
def operator(app: APIFlask) -> FlaskClient:
    return enter(app, "operator")


def post(client: FlaskClient, path: str, **form: str) -> Any:
    """What a form does, and the page after it."""
    values = form | {"csrf_token": csrf_of(client)["X-CSRF-Token"]}
    return client.post(f"{PAGES}{path}", data=values, follow_redirects=True)


def test_jobs_are_listed_and_filtered(operator: FlaskClient, fleet: Fleet) -> None:
    failed, waits = dead(fleet, tenant="ours"), queued(7, tenant="theirs")
    text = operator.get(PAGES).text
    assert failed in text and waits in text and "data-live" in text
    for query in (
        {"state": "failed", "type": " "},
        {"error": "DISK"},
        {"field": "value", "value": "2"},
        {"text": failed},
    ):
        text = operator.get(PAGES, query_string=query).text
        assert failed in text and waits not in text, query
    assert "No such jobs" in operator.get(PAGES, query_string={"lane": "chat"}).text


@pytest.mark.parametrize(
    "query", [{"state": "x"}, {"field": "a"}, {"since": "soon"}, {"cursor": "x"}, {"error": "\x1b"}]
)
def test_what_makes_no_sense_is_said_beside_its_field(operator: FlaskClient, fleet: Fleet, query: Header) -> None:
    waits = queued()
    answer = operator.get(PAGES, query_string=query)
    assert answer.status_code == 422 and waits not in answer.text and "Search" in answer.text
    assert operator.get(f"{PAGES}/bulk", query_string={"verb": "cancel"} | query).status_code in (200, 422)


def test_what_others_wrote_stays_text(operator: FlaskClient, fleet: Fleet) -> None:
    failed = dead(fleet, HOSTILE, tenant=HOSTILE[:40])
    for path in (PAGES, f"{PAGES}/{failed}", f"{PAGES}?error={HOSTILE}", f"{PAGES}/bulk?verb=retry&error={HOSTILE}"):
        text = operator.get(path).text
        assert "<script>alert" not in text and "canary" in unescape(text), path


def test_a_jobs_page_shows_and_does_what_can_be_done(operator: FlaskClient, fleet: Fleet) -> None:
    failed = dead(fleet)
    text = unescape(operator.get(f"{PAGES}/{failed}").text)
    assert "OSError: the disk is full" in text and '"value": 2' in text and "Retry" in text and "Discard" in text
    assert "is queued again" in post(operator, f"/{failed}/retry").text
    assert fleet.jobs.get(failed).status == "queued"
    assert "only an ended one can be run again" in post(operator, f"/{failed}/retry").text
    assert "goes first in its queue" in post(operator, f"/{delayed()}/promote").text
    assert "is cancelled" in post(operator, f"/{failed}/cancel", cascade="1").text
    assert "is gone" in post(operator, f"/{failed}/discard").text
    assert fleet.jobs.get_many([failed]) == [None]
    assert operator.get(f"{PAGES}/{failed}").status_code == 404
    actions = [line.action for line in fleet.audit.search(action="job.").items]
    assert actions[::-1] == ["job.retry", "job.promote", "job.cancel", "job.discard"]


def test_a_page_counts_on_from_where_a_dry_run_was_when_its_time_was_over(operator: FlaskClient, fleet: Fleet) -> None:
    samples.double.enqueue_many([{"value": each} for each in range(1_100)])
    cursor = fleet.inspection.plan(Where(), "cancel", within=timedelta(0)).next_cursor
    query = {"verb": "cancel", "cursor": cursor}
    assert "1,100 jobs" in operator.get(f"{PAGES}/bulk", query_string=query).text
    api = operator.post(
        "/admin/queues/api/jobs/bulk", json={"verb": "cancel", "cursor": cursor}, headers=csrf_of(operator)
    )
    assert (api.get_json()["count"], api.get_json()["next_cursor"]) == (1_100, None)
    for path in (f"{PAGES}/bulk?verb=cancel", "/admin/queues/dead-letters/bulk/retry?"):
        assert operator.get(f"{path}&cursor=strange").status_code == 422


def test_many_are_changed_after_a_dry_run(operator: FlaskClient, app: APIFlask, fleet: Fleet) -> None:
    jobs = [queued(n) for n in range(3)]
    text = unescape(operator.get(f"{PAGES}/bulk", query_string={"verb": "cancel", "state": "queued"}).text)
    assert "3 jobs" in text and jobs[0] in text and fleet.jobs.get(jobs[0]).status == "queued"
    bound = text.partition('name="bound" value="')[2].partition('"')[0]
    assert "3 of 3 jobs are done" in post(operator, "/bulk", bound=bound).text
    assert {fleet.jobs.get(job_id).status for job_id in jobs} == {"cancelled"}
    text = operator.get(f"{PAGES}/bulk", query_string={"verb": "discard"}).text
    assert 'name="bound"' not in text, "that is for admins"
    admin = enter(app, "admin")
    text = admin.get(f"{PAGES}/bulk", query_string={"verb": "discard"}).text
    bound = text.partition('name="bound" value="')[2].partition('"')[0]
    assert post(operator, "/bulk", bound=bound).status_code == 403
    assert "3 of 3 jobs are done" in post(admin, "/bulk", bound=bound).text


def test_what_is_left_says_why(operator: FlaskClient, fleet: Fleet) -> None:
    failed = dead(fleet)
    text = operator.get(f"{PAGES}/bulk", query_string={"verb": "discard"}).text
    fleet.redis.sadd(f"rq:job:{failed}:dependents", "other")
    text = operator.get(f"{PAGES}/bulk", query_string={"verb": "retry"}).text
    bound = text.partition('name="bound" value="')[2].partition('"')[0]
    assert "1 of 1 jobs are done" in post(operator, "/bulk", bound=bound).text
    assert post(operator, "/bulk", bound="x").status_code == 422


def test_viewers_look_and_read_only_consoles_offer_nothing(app: APIFlask, fleet: Fleet) -> None:
    failed = dead(fleet)
    viewer = enter(app, "viewer")
    for path in (PAGES, f"{PAGES}/{failed}"):
        text = viewer.get(path).text
        assert failed in text and "Retry" not in text and "Discard" not in text
    assert viewer.get(f"{PAGES}/bulk", query_string={"verb": "retry"}).status_code == 403
    assert post(viewer, f"/{failed}/retry").status_code == 403
    assert fleet.jobs.get(failed).status == "failed"


def test_one_tenants_operator_has_no_other_tenants_jobs(app: APIFlask, fleet: Fleet) -> None:
    ours, theirs = dead(fleet, tenant="a"), dead(fleet, tenant="b")
    client = enter(app, "operator-a")
    text = client.get(PAGES).text
    assert ours in text and theirs not in text and 'name="tenant"' not in text
    assert theirs not in client.get(PAGES, query_string={"tenant": "b"}).text
    assert client.get(f"{PAGES}/{theirs}").status_code == 404
    assert client.get(f"{PAGES}/bulk", query_string={"verb": "retry", "tenant": "b"}).status_code == 404
    for verb in ("retry", "cancel", "discard", "promote"):
        post(client, f"/{theirs}/{verb}")
    assert fleet.jobs.get(theirs).status == "failed"


@BOTH_WAYS
def test_the_pages_work_without_redis_too(operator: FlaskClient, fleet: Fleet) -> None:
    later = delayed()
    assert later in operator.get(PAGES).text
    assert "It has not run yet" in operator.get(f"{PAGES}/{later}").text
    assert "goes first" in post(operator, f"/{later}/promote").text
    assert "1 job" in unescape(operator.get(f"{PAGES}/bulk", query_string={"verb": "cancel"}).text)
