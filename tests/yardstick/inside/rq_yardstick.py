"""The pytest plugin inside RQ's test run: its workers are FleetWorkers, its serializer JSON; tells how each test ended.

It is loaded by name from its own folder, since RQ's tests are a package called `tests` too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import rq
import rq.worker
import rq_json  # noqa: F401
from rq.job import Job
from rq.webhook import Webhook

from jobs.engine.worker import FleetWorker, webhooks
from jobs.settings import Settings

STOCK = os.environ["YARDSTICK_WORKER"] == "stock"
worked = 0
"""How often a worker has worked in the test that is running."""


class Yardstick:
    """What a test's worker needs besides: the Redis database of its test, and to be counted."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        global worked
        worked += 1
        return bool(super().work(*args, **kwargs))  # type: ignore[misc]


class Worker(Yardstick, FleetWorker):  # type: ignore[misc]
    """FleetWorker under the name that RQ's tests use."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        place = self.connection.connection_pool.connection_kwargs
        host = quote(place.get("host", "127.0.0.1"))
        os.environ["REDIS_URL"] = f"redis://{host}:{place.get('port', 6379)}/{place.get('db', 0)}"
        try:
            self.settings = Settings.from_env()
            return super().work(*args, **kwargs)
        finally:
            del os.environ["REDIS_URL"]


class StockWorker(Yardstick, rq.worker.Worker):  # type: ignore[misc]
    """RQ's own."""


class StockSimpleWorker(Yardstick, rq.worker.SimpleWorker):  # type: ignore[misc]
    """RQ's own."""


def pytest_configure(config: pytest.Config) -> None:
    """Before RQ's tests are imported: put ours in the place of RQ's."""
    StockWorker.__name__, StockSimpleWorker.__name__ = "Worker", "SimpleWorker"
    for module in (rq, rq.worker):
        module.Worker = StockWorker if STOCK else Worker
        module.SimpleWorker = StockSimpleWorker if STOCK else Worker
    webhooks.send = _send
    config.stash[_outcomes] = {}


def _send(webhook: Webhook, payload: dict[str, Any], *, allow_private: bool) -> int:
    """RQ's tests look at what is handed to RQ's own sender; ours has tests of its own."""
    job = Job.fetch(payload["job_id"], connection=redis.Redis.from_url(os.environ["REDIS_URL"]))
    webhook.send(job, exc_string=payload.get("exc_info"))
    return 200


_outcomes: pytest.StashKey[dict[str, dict[str, Any]]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    global worked
    report = yield
    if call.when == "setup":
        worked = 0
    kept = item.config.stash[_outcomes].setdefault(item.nodeid, {"outcome": "passed", "worked": 0, "why": ""})
    kept["worked"] = worked
    if report.outcome != "passed" and kept["outcome"] != "failed":
        kept["outcome"] = report.outcome
        kept["why"] = _last_line(report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = json.dumps(session.config.stash[_outcomes], indent=1)
    Path(os.environ["YARDSTICK_REPORT"]).write_text(told, encoding="utf-8")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Some of RQ's tests leave processes behind that multiprocessing would wait for."""
    os._exit(0)


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = f"{Path(crash.path).name}:{crash.lineno}: {crash.message}" if crash else str(report.longrepr)
    return text.replace("\n", " ")[:300]
