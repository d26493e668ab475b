"""The pages of the fleet without a browser: what they say, for whom they have buttons, and while a part is away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import Fleet, keys
from jobs.engine.statistics import Counted, Tally
from jobs.settings import Settings
from tests.conftest import RedisServer
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import PAGE, accounts, enter
from webapp import create_app

PATHS = ("", "/lanes", "/workers", "/breakers")
API = "/admin/queues/api"


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"OPERATORS": accounts()}


@BOTH_WAYS
@pytest.mark.parametrize("path", PATHS)
def test_every_page_shows_without_redis_too(admin: FlaskClient, path: str) -> None:
    answer = admin.get(f"/admin/queues{path}")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for inline in (" style=", "<style", " onclick=", "<script>"):
        assert inline not in answer.text


def test_viewers_have_no_buttons_and_nobody_has_some_while_the_console_is_read_only(
    app: APIFlask, environ: dict[str, str]
) -> None:
    assert 'action="/admin/queues/lanes/chat/pause"' in enter(app, "operator").get("/admin/queues/lanes").text
    assert "/lanes/chat/pause" not in enter(app, "viewer").get("/admin/queues/lanes").text
    shut = create_app(Settings.from_env(environ | {"CONSOLE_READ_ONLY": "true"}))
    assert "/lanes/chat/pause" not in enter(shut, "operator").get("/admin/queues/lanes").text
    shut.extensions["fleet"].close()


def test_the_navigation_names_the_pages_that_who_looks_may_see(app: APIFlask) -> None:
    page = enter(app, "viewer").get("/admin/queues").text
    assert 'href="/admin/queues/workers"' in page
    assert 'aria-current="page">Overview' in page
    assert 'href="/admin/queues/workers"' not in enter(app, "viewer-a").get("/admin/queues/workers", headers=PAGE).text


def test_the_statistics_are_told_point_by_point(admin: FlaskClient, fleet: Fleet) -> None:
    tally = Tally("w1")
    runs = [("finished", 0.5), ("finished", 0.5), ("finished", 0.5), ("retry", 6.0)]
    tally.count([Counted("low", "audit", "audit.log", kind, ran, 3.0) for kind, ran in runs])
    tally.flush(fleet.redis)
    found = admin.get(f"{API}/statistics", query_string={"range": "24h"}).get_json()
    assert (found["range"], found["point_seconds"]) == ("24h", 600)
    told = [point for point in found["points"] if point["run_p50"] is not None]
    assert all((point["failure_rate"], point["run_p50"] < 0.6 < point["run_p95"]) == (0.25, True) for point in told)
    assert admin.get(f"{API}/statistics", query_string={"range": "1y"}).status_code == 422


def test_what_others_wrote_is_shown_and_not_run(admin: FlaskClient, fleet: Fleet) -> None:
    hostile = "<script>window.ran=1</script>"
    fleet.redis.sadd(f"{keys.PREFIX}:workers", f"{keys.PREFIX}:worker:{hostile}")
    fleet.redis.hset(
        f"{keys.PREFIX}:worker:{hostile}", mapping={"state": "busy", "queues": hostile, "version": hostile}
    )
    fleet.redis.set(keys.worker_report("liar"), '{"runs": [["a"]], "slots": "many", "lanes": 3, "memory": {}}')
    fleet.redis.zadd(keys.WORKERS, {"liar": 2**60})
    for path in ("", "/workers"):
        text = admin.get(f"/admin/queues{path}").text
        assert "<script>window" not in text and "&lt;script&gt;" in text and "liar" in text


@pytest.fixture
def lost_redis(
    environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory, tables: None
) -> Iterator[FlaskClient]:
    """A signed-in operator whose Redis has gone since."""
    server = RedisServer(tmp_path_factory.mktemp("lost"))
    app = create_app(Settings.from_env(environ | {"REDIS_URL": server.url}))
    client = enter(app, "operator")
    server.stop()
    yield client
    app.extensions["fleet"].close()


def test_while_redis_is_away_a_page_says_so_in_the_consoles_frame(lost_redis: FlaskClient) -> None:
    answer = lost_redis.get("/admin/queues", headers=PAGE)
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "away for the moment" in answer.text and 'aria-label="Console"' in answer.text
    assert lost_redis.get(f"{API}/queues").mimetype == "application/problem+json"
