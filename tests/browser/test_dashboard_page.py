"""rq-dashboard's pages in a real browser: they work under their policy and run nothing that a job brought along."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from apiflask import APIFlask
from playwright.sync_api import Page, expect
from redis import Redis
from rq import Queue, Worker
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from tests.browser.conftest import Complaints
from tests.webapp.operators import PASSWORD, accounts

pytestmark = pytest.mark.browser

SOME = {"Requeue", "Requeue All", "Delete"}
ALL = SOME | {"Empty queue"}
HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts()}


@pytest.fixture
def redis(app: APIFlask) -> Redis:
    found: Redis = app.extensions["fleet"].redis
    return found


@pytest.fixture
def failed(redis: Redis) -> Job:
    """A failed job of somebody else's with markup in its description, result, meta and traceback."""
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    job = queue.enqueue("os.getpid", description=HOSTILE, job_id="job-1", meta={"note": HOSTILE})
    redis.lrem("rq:queue:default", 0, job.id)
    redis.zadd("rq:failed:default", {job.id: 2**40})
    redis.hset(job.key, "status", "failed")
    Result.create(job, Result.Type.FAILED, 1000, return_value=HOSTILE, exc_string=f"Traceback: {HOSTILE}")
    return job


def test_markup_in_a_job_is_shown_and_not_run(
    page: Page, site: str, sign_in: Callable[[str], None], failed: Job, redis: Redis
) -> None:
    worker = Worker(["default"], connection=redis, serializer=JSONSerializer, name="busy")
    worker.register_birth()
    worker.prepare_execution(failed)
    sign_in(site)
    for path, shown in [
        ("view/jobs/default/failed/8/asc/1", "onerror"),
        ("view/job/job-1", "onerror"),
        ("view/workers", "job-1"),
        ("view/queues", "default"),
    ]:
        page.goto(f"{site}/admin/rq/0/{path}")
        expect(page.locator(".container")).to_contain_text(shown)
        assert page.evaluate("window.ran") is None
        assert page.locator(".container img").count() == 0
    page.goto(f"{site}/admin/rq/0/view/jobs/default/failed/8/asc/1")
    expect(page.locator(".description")).to_have_text(HOSTILE)


def test_a_failed_job_is_run_again_from_the_page(
    page: Page, site: str, sign_in: Callable[[str], None], failed: Job, redis: Redis
) -> None:
    sign_in(site)
    page.get_by_role("link", name="Queues").click()
    page.get_by_role("link", name="rq-dashboard").click()
    page.get_by_role("row", name=re.compile("default")).get_by_role("link").nth(5).click()
    page.get_by_role("link", name="Requeue", exact=True).click()
    expect(page.locator("[data-role=job]")).to_have_count(0)
    assert redis.lrange("rq:queue:default", 0, -1) == [b"job-1"]


def test_a_job_is_deleted_after_asking(
    page: Page, site: str, sign_in: Callable[[str], None], failed: Job, redis: Redis
) -> None:
    sign_in(site)
    page.goto(f"{site}/admin/rq/0/view/jobs/default/failed/8/asc/1")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.locator("[data-role=job]")).to_have_count(0)
    assert not redis.exists(failed.key)


@pytest.mark.parametrize(("name", "shown"), [("viewer", set()), ("operator", SOME), ("admin", ALL)])
def test_nobody_sees_buttons_that_they_may_not_press(
    page: Page, site: str, failed: Job, name: str, shown: set[str]
) -> None:
    page.goto(f"{site}/admin/login?next=/admin/rq/0/view/jobs/default/failed/8/asc/1")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("[data-role=job]")).to_have_count(1)
    assert {text for text in ALL if page.get_by_role("link", name=text, exact=True).is_visible()} == shown
    expect(page.get_by_role("note")).to_contain_text("Not in these lists")
    page.goto(f"{site}/admin/rq/0/view/job/job-1")
    expect(page.locator("#job-data")).to_contain_text("onerror")
    assert page.get_by_role("button", name="Delete").is_visible() == bool(shown)


def test_the_page_says_that_a_list_goes_on_until_it_does_not(
    page: Page, site: str, sign_in: Callable[[str], None], redis: Redis, complaints: Complaints
) -> None:
    complaints.network_expected = True
    redis.zadd("rq:failed:default", {f"gone-{number}": 1.0 for number in range(10_001)})
    sign_in(site)
    page.goto(f"{site}/admin/rq/0/view/jobs/default/failed/8/asc/1")
    told = page.locator(".list-goes-on")
    empty(page)
    expect(told).to_contain_text("the list goes on")
    redis.set("rq:failed:low", "of another kind")
    redis.rename("rq:failed:low", "rq:failed:default")
    empty(page)
    expect(told).to_contain_text("It was not done")
    redis.delete("rq:failed:default")
    empty(page)
    expect(told).to_have_count(0)


def empty(page: Page) -> None:
    page.get_by_role("link", name="Empty queue", exact=True).click()
    page.get_by_role("button", name="Yes").click()
