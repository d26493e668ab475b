"""Webhooks of plain RQ jobs are sent once a run has ended, to public addresses only, without following redirects."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from rq import Queue as RQQueue
from rq import Retry as RQRetry
from rq import Webhook
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Permanent, Retryable, keys
from jobs.engine.worker import webhooks
from tests.conftest import wait_until
from tests.engine import foreign_functions as functions
from tests.engine.conftest import until_quarantined
from tests.engine.samples import jobs as samples
from tests.website import Site

Spawn = Callable[..., subprocess.Popen[bytes]]
ADMITTED = "tests.engine.foreign_functions.*"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    for path in ("/done", "/failed"):
        site.page(path)
    yield site
    site.close()


def both(site: Site, **options: object) -> list[Webhook]:
    done = Webhook(site.url("/done"), "finished", **options)  # type: ignore[arg-type]
    return [done, Webhook(site.url("/failed"), "failed", method="POST", headers={"X-Key": "canary"})]


def requests(site: Site) -> list[tuple[str, str]]:
    return [(request["method"], request["path"]) for request in site.requests]


def queue_of(fleet: Fleet) -> RQQueue:
    return RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)


def test_the_webhook_of_a_jobs_end_is_sent(fleet: Fleet, spawn: Spawn, site: Site) -> None:
    queue = queue_of(fleet)
    queue.enqueue(functions.add, 1, 2, webhooks=both(site))
    failing = queue.enqueue(functions.fail, "/dev/null", webhooks=both(site), retry=RQRetry(max=1))
    queue.enqueue(functions.come_again, 1, webhooks=both(site), result_ttl=0)
    assert spawn("worker.py", "--burst", FOREIGN_JOBS=ADMITTED).wait(60) == 0
    assert sorted(requests(site)) == [("GET", "/done"), ("POST", "/failed"), ("POST", "/failed")]
    told = {json.loads(each["body"])["job_id"]: each for each in site.requests if "body" in each}[failing.id]
    body = json.loads(told["body"])
    assert (told["x-key"], told["content-type"], body["status"]) == ("canary", "application/json", "failed")
    assert "ValueError: it never works" in body["exc_info"]
    assert fleet.redis.zcard(keys.FOLLOW_UPS) == 0


def test_a_dead_workers_webhook_is_sent_by_another(fleet: Fleet, spawn: Spawn, site: Site) -> None:
    job = queue_of(fleet).enqueue(functions.add, 1, 2, webhooks=both(site))
    assert spawn("worker.py", "--burst", FOREIGN_JOBS=ADMITTED).wait(60) == 0
    execution = (fleet.redis.hget(job.key, "settled") or b"").decode()
    fleet.redis.zadd(keys.FOLLOW_UPS, {f"{job.id}:{execution}": 1})
    spawn("worker.py", FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: len(site.requests) == 2)
    wait_until(lambda: fleet.redis.zcard(keys.FOLLOW_UPS) == 0)


def test_private_addresses_are_refused_and_the_job_is_none_the_worse(fleet: Fleet, spawn: Spawn, site: Site) -> None:
    job = queue_of(fleet).enqueue(functions.add, 1, 2, webhooks=both(site))
    assert spawn("worker.py", "--burst", FOREIGN_JOBS=ADMITTED, ALLOW_PRIVATE_HTTP="false").wait(60) == 0
    assert (job.get_status(), requests(site), fleet.redis.zcard(keys.FOLLOW_UPS)) == ("finished", [], 0)


def test_no_webhook_of_a_job_that_is_not_admitted_is_sent(fleet: Fleet, spawn: Spawn, site: Site) -> None:
    ours = samples.double.enqueue({})
    described = json.dumps([webhook.to_dict() for webhook in both(site)])
    fleet.redis.hset(keys.job(ours.id), "webhooks", described)
    unknown = queue_of(fleet).enqueue("os.getcwd", webhooks=both(site))
    cancelled = queue_of(fleet).enqueue("os.getcwd", webhooks=both(site))
    fleet.redis.hset(cancelled.key, "deadline", "2020-01-01T00:00:00Z")
    assert spawn("worker.py", "--burst", FOREIGN_JOBS=ADMITTED).wait(60) == 0
    for job_id in (ours.id, unknown.id):
        until_quarantined(fleet, job_id)
    assert (cancelled.get_status(), requests(site)) == ("failed", [])


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://localhost:6379/",
        "http://[::ffff:10.0.0.1]/",
        "http://user:secret@203.0.113.1/",
        "http://198.51.100.7:99999/",
    ],
)
def test_an_address_that_is_not_public_is_never_called(url: str) -> None:
    with pytest.raises(Permanent):
        webhooks.send(Webhook(url, "finished"), {}, allow_private=False)


def test_a_redirect_is_not_followed(site: Site) -> None:
    site.page("/moved", status=302, Location=site.url("/done"))
    answer = webhooks.send(
        Webhook(site.url("/moved"), "finished", headers={"Authorization": "Bearer canary"}), {}, allow_private=True
    )
    assert (answer, requests(site)) == (302, [("GET", "/moved")])


def test_headers_can_neither_be_split_nor_take_over_the_request(site: Site) -> None:
    with pytest.raises(Permanent):
        webhooks.send(Webhook(site.url("/done"), "finished", headers={"X-A": "1\r\nX-B: 2"}), {}, allow_private=True)
    headers = {"Content-Length": "0", "Host": "internal", "X-A": "1"}
    webhook = Webhook(site.url("/done"), "finished", method="POST", headers=headers)
    assert webhooks.send(webhook, {"job_id": "a"}, allow_private=True) == 200
    assert [(each["body"], each["x-a"]) for each in site.requests] == [('{"job_id": "a"}', "1")]
    assert site.requests[0]["host"] == f"127.0.0.1:{site.port}"


def test_an_answer_that_drips_is_cut_off(site: Site) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        while not site.closing.wait(0.05):
            request.wfile.write(b"H")

    site.pages["/slow"] = drip
    with pytest.raises(Retryable):
        webhooks.send(Webhook(site.url("/slow"), "finished", timeout=1), {}, allow_private=True)
