"""What was taken out of schedules, in the operators' API: viewers list it, operators throw it away."""

from __future__ import annotations

from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet
from jobs.engine.scheduler import names
from jobs.engine.scheduler.aside import set_aside
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import bearer_of

API = "/admin/queues/api/set-aside"


def test_what_was_set_aside_is_listed_counted_and_discarded(client: FlaskClient, app: APIFlask) -> None:
    fleet: Fleet = app.extensions["fleet"]
    set_aside(fleet.redis, names.SCHEDULED_JOBS, "one", "it has no hash")
    viewer, operator = bearer_of(app, "viewer"), bearer_of(app, "operator")
    (item,) = client.get(API, headers=viewer).json["items"]
    assert (item["id"], item["schedule"], item["reason"]) == ("one", "scheduler:scheduled_jobs", "it has no hash")
    assert "fleet_scheduled_jobs_set_aside 1.0" in client.get("/metrics/prometheus").text
    assert client.post(f"{API}/discard", json={"ids": ["one"]}, headers=viewer).status_code == 403
    done = client.post(f"{API}/discard", json={"ids": ["one", "two"]}, headers=operator)
    assert (done.status_code, done.json) == (200, {"ids": ["one"]})
    assert client.get(API, headers=viewer).json == {"items": [], "count": 0, "next_cursor": None}
    assert "fleet_scheduled_jobs_set_aside 0.0" in client.get("/metrics/prometheus").text
    (entry,) = fleet.audit.search(action="set_aside.").items
    assert (entry.target, entry.after) == ("one, two", {"done": 1, "left": 1, "jobs": {"gone": 1}})


@BOTH_WAYS
def test_there_is_a_list_without_redis_too(client: FlaskClient, app: APIFlask) -> None:
    viewer = bearer_of(app, "viewer")
    assert client.get(API, headers=viewer).json == {"items": [], "count": 0, "next_cursor": None}
    assert client.get(f"{API}?cursor=x", headers=viewer).status_code == 422
