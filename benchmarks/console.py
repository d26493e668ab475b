"""How long the console's pages and its API take while a million jobs wait and two hundred thousand have failed."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from apiflask import APIFlask
from flask.testing import FlaskClient

from benchmarks import _report
from benchmarks._broker import broker
from benchmarks.letters import SETTINGS, failing, let_die
from jobs.adapters.database import migrate
from jobs.engine import Fleet, connect, keys
from jobs.engine.broker import connect as connect_redis
from jobs.engine.policy import Queue
from jobs.settings import Settings
from tests.browser.console_scene import busy_day
from webapp import create_app
from webapp.sessions import make_ticket

CHUNK, TIMES, BOUND_MS = 10_000, 15, 200.0
MORE_TO_SAY = ("/admin/queues/jobs/bulk",)
"""What is asked for with more than an address."""
MORE = ("/admin/queues?range=24h", "/admin/queues?range=7d")


def main() -> int:
    """Measure and print; 1 where an answer took longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--failed", type=int, default=200_000)
    parser.add_argument("--redis-server", help="the server's binary")
    parser.add_argument("--quick", action="store_true", help="keep no result")
    options = parser.parse_args()
    with broker(options.redis_server) as running, tempfile.TemporaryDirectory() as folder:
        settings = _settings(running.url, Path(folder))
        _fill(connect(settings), options.waiting, options.failed)
        app = create_app(settings)
        fleet, client = app.extensions["fleet"], _admin(app)
        rows = [_row(client, path) for path in _paths(app, fleet) if path not in MORE_TO_SAY]
        facts = {"waiting_jobs": options.waiting, "failed_jobs": options.failed, "bound_ms": BOUND_MS}
        title = "Pages and API of the console, milliseconds"
        if options.quick:
            _report.show(title, rows, **facts)
        else:
            _report.publish("console", title, rows, running.client, **facts)
        fleet.close()
    return int(any(row["median"] > BOUND_MS for row in rows))


def _settings(redis_url: str, folder: Path) -> Settings:
    places = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{folder / 'bench.db'}"}
    settings = Settings.from_env({**SETTINGS, **places, "STORAGE_URL": f"file://{folder}"})
    migrate(settings)
    return settings


def _fill(fleet: Fleet, waiting: int, failed: int) -> None:
    """Apart from the application's own fleet, which waits for Redis less long."""
    fleet.redis = connect_redis(fleet.settings, socket_timeout=timedelta(minutes=1))
    let_die(fleet, 0, failed)
    for _ in range(waiting // CHUNK):
        failing.enqueue_many([{}] * CHUNK, priority=Queue.LOW, tenant="acme")
    busy_day(fleet)
    fleet.close()


def _admin(app: APIFlask) -> FlaskClient:
    client = app.test_client()
    client.get("/dev/sign-in", query_string={"ticket": make_ticket(app.extensions["settings"])})
    return client


def _paths(app: APIFlask, fleet: Fleet) -> Iterator[str]:
    """Everything that can be asked for without naming a thing, some more ranges, and one job."""
    rules = sorted(
        rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments
    )
    yield from (rule for rule in rules if rule.startswith("/admin/queues") and not rule.endswith("/events"))
    yield from MORE
    newest: Any = fleet.redis.lindex(keys.queue("low"), -1)
    yield f"/admin/queues/jobs/{newest.decode()}"


def _row(client: FlaskClient, path: str) -> dict[str, Any]:
    """The first answer, which may fill what is kept, and the median and the longest of those after it."""
    first, *others = (_took(client, path) for _ in range(TIMES))
    shown = "/admin/queues/jobs/ID" if path.startswith("/admin/queues/jobs/") and path.count("/") == 4 else path
    return {"path": shown, "first": first, "median": median(others), "longest": max(others)}


def _took(client: FlaskClient, path: str) -> float:
    begun = time.perf_counter()
    answer = client.get(path, headers={"Accept": "text/html,application/json;q=0.9"})
    if answer.status_code != 200:
        raise RuntimeError(f"{path} was answered with {answer.status_code}: {answer.text[:200]}")
    return round((time.perf_counter() - begun) * 1000, 1)


if __name__ == "__main__":
    raise SystemExit(main())
