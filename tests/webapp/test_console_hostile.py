"""The console's pages with markup wherever others can write: shown, never run, and nothing that leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from apiflask import APIFlask
from rq import Worker
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, Workflow, keys, registry
from jobs.engine.audit_log import Actor
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from jobs.engine.scheduler import FleetScheduler
from tests.engine.leases import lease, leases_of, put, settle
from tests.webapp.matrix.asking import address, routes
from tests.webapp.operators import PAGE, accounts, csrf_of, enter

EVIL = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>\x1b[31m\u202e"
SCHEMES = ("javascript:", "data:", "vbscript:", "//", "http:", "https:")


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts(), "JOB_MODULES": "jobs.domains,tests.engine.samples"}


@pytest.fixture
def values(fleet: Fleet) -> dict[str, Any]:
    """What routes are asked for, once everything that others can write holds markup."""
    FleetScheduler(fleet).run(burst=True)
    made = {"job_id": letter(fleet), "workflow_id": workflow(fleet)}
    worker(fleet)
    fleet.breakers.open("chat", "openai", timedelta(minutes=5), EVIL)
    by = Actor(EVIL, "admin", EVIL, "shell")
    fleet.audit.record(action=EVIL, target=EVIL, by=by, before={EVIL: EVIL}, after={"a": [EVIL]})
    about = {"tenant": EVIL, "type": EVIL, "lane": EVIL, "worker_name": EVIL, "description": EVIL, "created_at": EVIL}
    put(fleet.redis, "hand-made", **about, correlation_id=EVIL, meta=EVIL, data=EVIL)
    put(fleet.redis, "failed", **about, status_=EVIL)
    fleet.redis.hset(keys.job("failed"), "status", "failed")
    fleet.redis.zadd(keys.registry("failed", "default"), {"failed": 2**40})
    return made


def worker(fleet: Fleet) -> None:
    """One of RQ's own that says of itself what it likes."""
    Worker(["default"], connection=fleet.redis, serializer=JSONSerializer, name="w1").register_birth()
    known = f"{keys.PREFIX}:worker:"
    said = {"queues": EVIL, "hostname": EVIL, "version": EVIL, "state": EVIL, "current_job": EVIL, "ip_address": EVIL}
    fleet.redis.hset(f"{known}w1", mapping=said)
    fleet.redis.copy(f"{known}w1", f"{known}{EVIL}")
    fleet.redis.sadd(f"{keys.PREFIX}:workers", f"{known}{EVIL}")


def letter(fleet: Fleet) -> str:
    job = fleet.enqueue("mortal.orders", {"folder": EVIL}, tenant="a")
    (run,) = lease(leases_of(fleet, EVIL))
    settle(leases_of(fleet, EVIL), (run, of_error(OSError(EVIL), Retry(max_retries=0), 1)))
    return job.id


def workflow(fleet: Fleet) -> str:
    flow = Workflow(EVIL.partition("\x1b")[0], tenant="a")
    flow.add(registry.get("flows.step"), {"name": EVIL}, name="first")
    return flow.enqueue(fleet).id


class Looked(HTMLParser):
    """What of a page a browser would run or follow."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.wrong.append(f"{tag} {name}={value}")
            if name in ("href", "src", "action", "formaction") and (value or "").strip().lower().startswith(SCHEMES):
                self.wrong.append(f"{tag} {name}={value}")
        if tag == "img" or (tag == "script" and not dict(attrs).get("src")):
            self.wrong.append(f"{tag} {attrs}")


def pages(app: APIFlask, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Method and address of each route below /admin/queues; names in paths are markup where any name is taken."""
    for method, _, rule in routes(app):
        if rule.rule.startswith("/admin/queues"):
            taken = "maintenance.forget_requests" if "schedule" in rule.endpoint else EVIL.replace("/", "")
            choices = {name: sorted(each.items)[0] for name, each in rule._converters.items() if hasattr(each, "items")}
            yield method, address(rule, {name: (choices | values).get(name, taken) for name in rule.arguments})


QUERIES: list[dict[str, str]] = [
    {},
    dict.fromkeys(("text", "type", "tenant", "queue", "state", "cursor", "range", "subject", "action", "error"), EVIL),
    {"text": EVIL},
    {"_scheme": "javascript", "_external": "1", "_anchor": "\nalert(1)"},
    {"endpoint": "x", "_method": "POST", "self": "1"},
]


def test_markup_is_shown_and_leads_nowhere(app: APIFlask, values: dict[str, Any]) -> None:
    admin, seen = enter(app, "admin"), 0
    for method, place in pages(app, values):
        if method != "GET" or place.endswith("/events"):
            continue
        for query in QUERIES[: 2 if "/api/" in place else None]:
            answer = admin.get(place, query_string=query, headers=PAGE)
            assert answer.status_code in (200, 303, 404, 422), (place, query, answer.status_code, answer.text[:300])
            assert answer.status_code != 303 or answer.location.startswith("/admin/queues/")
            if answer.mimetype == "text/html":
                seen += 1
                assert Looked(answer.text).wrong == [], (place, query)
            guarded(answer, place)
    assert seen > 20


def test_jobs_that_somebody_made_by_hand_are_shown(app: APIFlask, values: dict[str, Any]) -> None:
    admin = enter(app, "admin")
    for job_id in ("hand-made", "failed", values["job_id"]):
        for place in (f"/admin/queues/jobs/{job_id}", f"/admin/queues/api/jobs/{job_id}"):
            answer = admin.get(place, headers=PAGE)
            assert answer.status_code == 200, (place, answer.text[:300])
            assert answer.mimetype == "application/json" or Looked(answer.text).wrong == []


@pytest.mark.parametrize(
    "job_id", ["x:dependents", "..", "a" * 129, "%00", "\u00e9", "*", "a b", "<b>", "%2e%2e%2fqueues"]
)
def test_an_id_that_can_be_none_reads_like_an_unknown_one(app: APIFlask, job_id: str) -> None:
    admin = enter(app, "admin")
    for place in ("/admin/queues/jobs", "/admin/queues/api/jobs", "/admin/queues/api/dead-letters"):
        assert admin.get(f"{place}/{job_id}", headers=PAGE).status_code == 404


def test_an_action_leads_back_into_the_console_whatever_the_request_says(app: APIFlask, values: dict[str, Any]) -> None:
    admin, seen = enter(app, "admin"), 0
    elsewhere = {"next": "https://evil.example", "back": "//evil.example", "url": "https://evil.example"}
    headers = PAGE | csrf_of(admin) | {"Referer": "http://localhost//evil.example/"}
    for method, place in pages(app, values):
        if method == "POST" and not place.startswith("/admin/queues/api"):
            answer = admin.post(place, data=elsewhere, query_string=elsewhere, headers=headers)
            assert answer.status_code in (200, 303, 404, 422), (place, answer.status_code, answer.text[:300])
            if answer.status_code == 303:
                seen += 1
                assert answer.location.startswith("/admin/queues"), place
                assert Looked(admin.get(answer.location, headers=PAGE).text).wrong == []
    assert seen > 5


def test_a_link_to_go_on_with_an_action_says_on_what(app: APIFlask, values: dict[str, Any]) -> None:
    """Somebody else may have made it, with a bound of their own."""
    admin, where = enter(app, "admin"), {"type": "mortal.orders"}
    plan = admin.post("/admin/queues/api/dead-letters/discard", json={"where": where}, headers=csrf_of(admin)).json
    place = "/admin/queues/dead-letters/more/discard"
    assert "type=mortal.orders" in admin.get(place, query_string={"bound": plan["bound"]}, headers=PAGE).text
    assert admin.get(place, query_string={"bound": "e30="}, headers=PAGE).status_code == 422


def test_a_name_with_line_ends_makes_no_header(app: APIFlask, values: dict[str, Any]) -> None:
    admin = enter(app, "admin")
    for kind in ("queues", "lanes", "workers"):
        place = f"/admin/queues/{kind}/a%0d%0aX-Evil:%201%0d%0a/pause"
        answer = admin.post(place, headers=PAGE | csrf_of(admin))
        assert "X-Evil" not in answer.headers and answer.status_code in (303, 404)
    answer = admin.get("/admin/login?next=/admin/%0d%0aX-Evil:%201")
    assert "X-Evil" not in answer.headers and answer.location == "/admin/queues"


def guarded(answer: Any, place: str) -> None:
    """What every answer below /admin says to browsers and caches."""
    headers = answer.headers
    assert headers["Cache-Control"] == "no-store", place
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY", place
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy, place
