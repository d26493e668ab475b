"""How long the console's pages, its API and the scrapes take while a million jobs wait and 200,000 have failed."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import redis
from apiflask import APIFlask
from flask.testing import FlaskClient

from benchmarks import _crowd, _report
from benchmarks._broker import broker
from benchmarks._served import scraped
from benchmarks.letters import SETTINGS
from jobs.adapters.database import migrate
from jobs.engine import Fleet, connect, keys
from jobs.engine.broker import connect as connect_redis
from jobs.settings import Settings
from tests.browser.console_scene import busy_day
from webapp import create_app
from webapp.sessions import make_ticket

TIMES, LONG_ENOUGH_MS = 10, 1_000
PAGE_MS, SCRAPE_MS, NO_BOUND = 200, 50, 0
JOBS, LETTERS = "/admin/queues/jobs", "/admin/queues/dead-letters"
COUNTS = "/admin/queues/api/counts"
MORE_TO_SAY = (f"{JOBS}/bulk", COUNTS)
"""What is asked for with more than an address."""
RANGES = ("/admin/queues?range=24h", "/admin/queues?range=7d")
SEARCHES = (
    *("state=failed", "state=queued", "state=scheduled", "type=bench.failing", "type=bench.failing&state=failed"),
    *("tenant=nobody", "tenant=tenant-3", "error=ccc", "error=nobody says this", "since=2099-01-01T00:00"),
    *("field=document_id&value=document-999", "field=document_id&value=none"),
)
RQ = "/admin/rq/0/data"
RQ_DASHBOARD = (
    *(f"{RQ}/queues.json", f"{RQ}/jobs/default/failed/8/asc/1.json", f"{RQ}/jobs/default/queued/8/asc/1.json"),
    f"{RQ}/jobs/default/failed/8/dsc/9000.json",
)
Row = dict[str, Any]


def main() -> int:
    """Measure and print; 1 where an answer took longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--failed", type=int, default=200_000)
    parser.add_argument("--delayed", type=int, default=100_000)
    parser.add_argument("--history", type=int, default=200_000, help="rows of the ledger")
    parser.add_argument("--redis-server", help="the server's binary")
    parser.add_argument("--quick", action="store_true", help="a hundredth of all that, and keep no result")
    parser.add_argument("--crowd", type=Path, help="make the jobs and wait; where they were made, measure them")
    options = parser.parse_args()
    if options.crowd and (options.crowd / "url").exists():
        return measured(options, (options.crowd / "url").read_text(), options.crowd)
    with broker(options.redis_server) as running, tempfile.TemporaryDirectory(prefix="bench-console-") as folder:
        place = options.crowd or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        _fill(options, running.url, place)
        if not options.crowd:
            return measured(options, running.url, place)
        (place / "url").write_text(running.url)
        input("The jobs are there: measure them with the same command elsewhere, then press Enter here.")
        (place / "url").unlink()
    return 0


def measured(options: argparse.Namespace, url: str, place: Path) -> int:
    """Ask for each again and again, in this process; 1 where one took longer than it may."""
    app = create_app(_settings(url, place))
    fleet, client = app.extensions["fleet"], _admin(app)
    rows = [_row(client, path, bound) for path, bound in _asked(app, fleet)]
    for processes in (2, 8):
        rows += scraped(app, _environment(url, place), place, processes=processes, bound=SCRAPE_MS)
    queue = fleet.redis.llen(keys.queue("default"))
    facts = {"waiting_jobs": options.waiting, "in_one_queue": queue, "failed_jobs": options.failed}
    facts |= {"delayed_jobs": options.delayed, "rows_of_the_ledger": options.history}
    title = "Pages and API of the console, milliseconds"
    with redis.Redis.from_url(url) as server:
        if options.quick:
            _report.show(title, rows)
        else:
            _report.publish("console", title, rows, server, **facts)
    slow = [row["path"] for row in rows if row["bound"] != NO_BOUND and row["median"] > row["bound"]]
    print(f"too slow: {', '.join(slow)}" if slow else "none is slower than it may be")
    fleet.close()
    app.extensions["database"].close()
    return int(bool(slow))


def _settings(redis_url: str, folder: Path) -> Settings:
    return Settings.from_env(_environment(redis_url, folder))


def _environment(redis_url: str, folder: Path) -> dict[str, str]:
    places = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{folder / 'bench.db'}"}
    secrets = {"SECRET_KEY": "k" * 64, "JWT_SECRET": "j" * 64}
    return {**SETTINGS, **secrets, **places, "STORAGE_URL": f"file://{folder / 'storage'}"}


def _fill(options: argparse.Namespace, url: str, place: Path) -> None:
    """Apart from the application's own fleet, which waits for Redis less long. Those that fail come first."""
    settings, scale = _settings(url, place), 100 if options.quick else 1
    migrate(settings)
    fleet = connect(settings).discover()
    fleet.redis = connect_redis(settings, socket_timeout=timedelta(minutes=1))
    _crowd.let_fail(fleet, options.failed // scale)
    _crowd.let_be_delayed(fleet, options.delayed // scale)
    _crowd.let_wait(fleet, options.waiting // scale)
    _crowd.let_be_history(fleet, options.history // scale)
    busy_day(fleet)
    fleet.database.close()
    fleet.close()


def _admin(app: APIFlask) -> FlaskClient:
    client = app.test_client()
    client.get("/dev/sign-in", query_string={"ticket": make_ticket(app.extensions["settings"])})
    return client


def _asked(app: APIFlask, fleet: Fleet) -> Iterator[tuple[str, int]]:
    """Everything that can be asked for without naming a thing, searches, single jobs, and who is compared."""
    rules = sorted(
        rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments
    )
    own = [rule for rule in rules if rule.startswith("/admin/queues") and not rule.endswith("/events")]
    failed = fleet.dead_letters.find(limit=1).items[0]
    waiting = fleet.redis.llen(keys.queue("default"))
    deep: Any = fleet.redis.lindex(keys.queue("default"), waiting // 2)
    cursor = fleet.inspection.find(limit=50).next_cursor
    pages = [*(rule for rule in own if rule not in MORE_TO_SAY), *RANGES, f"{JOBS}?cursor={cursor}"]
    pages += [f"{COUNTS}?tenant=tenant-3", "/admin/queues?tenant=tenant-3"]
    pages += [f"{JOBS}?{search}" for search in SEARCHES]
    pages += [f"{JOBS}/{failed.id}", f"{JOBS}/{deep.decode()}", f"{LETTERS}/{failed.id}"]
    pages += [f"{JOBS}/bulk?verb={verb}" for verb in ("retry", "cancel", "promote", "discard")]
    pages += [f"{JOBS}/bulk?verb=retry&error=nobody says this", f"{JOBS}/bulk?verb=retry&type=bench.failing"]
    pages += [f"{LETTERS}/bulk/retry?text=nobody says this", f"{LETTERS}/bulk/retry?type=bench.failing"]
    yield from ((path, PAGE_MS) for path in pages)
    yield from ((path, SCRAPE_MS) for path in ("/metrics", "/api/metrics"))
    yield from ((path, NO_BOUND) for path in RQ_DASHBOARD)


def _row(client: FlaskClient, path: str, bound: int) -> Row:
    """The first answer, which may fill what is kept, and the median and the longest of those after it."""
    first, others = _took(client, path), list[float]()
    while len(others) < TIMES and (not others or sum(others) < LONG_ENOUGH_MS):
        others.append(_took(client, path))
    shown = path if len(path) < 75 else f"{path[:40]}..."
    return {"path": shown, "first": first, "median": round(median(others), 1), "longest": max(others), "bound": bound}


def _took(client: FlaskClient, path: str) -> float:
    begun = time.perf_counter()
    answer = client.get(path, headers={"Accept": "text/html,application/json;q=0.9"})
    if answer.status_code != 200:
        raise RuntimeError(f"{path} was answered with {answer.status_code}: {answer.text[:200]}")
    return round((time.perf_counter() - begun) * 1000, 1)


if __name__ == "__main__":
    raise SystemExit(main())
