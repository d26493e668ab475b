"""The Grafana dashboards: about metrics that exist, laid out without overlaps, tied to no data source of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
OMITTED = {
    "fleet_lane_run_seconds",
    "fleet_lane_wait_seconds",
    "fleet_ledger_rows_behind",
    "fleet_schedule_paused",
    "fleet_web_processes",
    "rq_fleet_queue_jobs",
}
"""Said by others, or of no use over time."""


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    """What its panels ask Prometheus for."""
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def names_in(expression: str) -> set[str]:
    """The metrics it is about, as docs/metrics.md names them."""
    names = re.findall(r"\b(?:rq_fleet|fleet|flask)_\w+", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def test_panels_are_about_metrics_that_exist(dashboard: dict[str, Any]) -> None:
    listed = set(re.findall(r"`(\w+)`", (ROOT / "docs/metrics.md").read_text()))
    for expression in expressions(dashboard):
        assert names_in(expression) <= listed, expression


def test_all_dashboards_together_show_every_metric_but_these() -> None:
    shown = {name for path in FILES for each in expressions(json.loads(path.read_text())) for name in names_in(each)}
    rows = re.findall(
        r"^\| (`.*?) \| (?:gauge|counter|histogram|summary) ", (ROOT / "docs/metrics.md").read_text(), re.M
    )
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} - shown == OMITTED


def test_panels_do_not_overlap_and_say_what_they_show(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and (panel["type"] == "row" or panel["description"]) for panel in panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_data_source_is_a_choice(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = {name for each in expressions(dashboard) for name in re.findall(r"\$(\w+)", each)}
    assert used <= {*variables, "__rate_interval"}
