"""The alert rules: right as promtool sees them, about metrics that exist, with runbooks, read by a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml

from jobs.adapters import database
from jobs.settings import Settings
from tests.conftest import ROOT, free_port, wait_until
from tests.webapp.live_server import serving
from webapp import create_app

FOLDER = ROOT / "deploy" / "prometheus"
RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
MEANWHILE = 60.0


@pytest.fixture(autouse=True)
def _has_prometheus() -> None:
    if shutil.which("promtool") is None or shutil.which("prometheus") is None:
        assert not os.environ.get("CI"), "CI needs Debian's package prometheus"
        pytest.skip("Prometheus is not installed: apt-get install prometheus")


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_rules_are_right_and_fire_when_they_should() -> None:
    for arguments in (
        ("check", "rules", "rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "rules_test.yml"),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_that_never_fires_is_noticed(rule: dict[str, Any], tmp_path: Path) -> None:
    text = (FOLDER / "rules.yml").read_text()
    before, alert, after = text.partition(f"- alert: {rule['alert']}\n")
    silent = re.sub(r"expr: (>-\n( {10}.*\n)+|.*\n)", "expr: vector(0) > 1\n", after, count=1)
    (tmp_path / "rules.yml").write_text(before + alert + silent)
    cases = yaml.safe_load((FOLDER / "rules_test.yml").read_text())
    cases["tests"] = [case for case in cases["tests"] if rule["alert"] in str(case["alert_rule_test"])]
    (tmp_path / "rules_test.yml").write_text(yaml.safe_dump(cases))
    done = promtool("test", "rules", "rules_test.yml", folder=tmp_path)
    assert done.returncode == 1 and f"alertname: {rule['alert']}" in done.stdout + done.stderr


def test_rules_are_about_metrics_that_exist_and_have_runbooks() -> None:
    listed = set(re.findall(r"`(\w+)`", (ROOT / "docs/metrics.md").read_text()))
    for rule in RULES:
        assert set(re.findall(r"\b(?:rq_)?fleet_\w+", rule["expr"])) <= listed
        assert (ROOT / rule["annotations"]["runbook"]).is_file()


@pytest.fixture
def prometheus(settings: Settings, tmp_path: Path) -> Iterator[str]:
    """The address of a Prometheus that reads our rules and asks our application."""
    database.migrate(settings)
    with serving(create_app(settings)) as base:
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(FOLDER / "rules.yml")],
            "scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": [urlsplit(base).netloc]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        address = f"127.0.0.1:{free_port()}"
        command = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--web.listen-address={address}"]
        with (tmp_path / "prometheus.log").open("wb") as log:
            process = subprocess.Popen([*command, f"--storage.tsdb.path={tmp_path / 'tsdb'}"], stdout=log, stderr=log)
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(30)


def ask(base: str, path: str) -> Any:
    try:
        with build_opener(ProxyHandler({})).open(f"{base}/api/v1/{path}", timeout=10) as answer:
            return json.loads(answer.read())["data"]
    except (URLError, ConnectionError):
        return {}


def expressions_of_panels() -> list[str]:
    """What the Grafana dashboards ask, with a value for each of their variables."""
    dashboards = [json.loads(path.read_text()) for path in (ROOT / "deploy/grafana").glob("*.json")]
    targets = [target for each in dashboards for panel in each["panels"] for target in panel.get("targets", [])]
    values = {"$__rate_interval": "1m", "$job": ".+", "$type": ".+"}
    return [re.sub("|".join(map(re.escape, values)), lambda name: values[name[0]], each["expr"]) for each in targets]


def test_a_real_prometheus_scrapes_the_application_sees_that_nobody_works_and_understands_the_dashboards(
    prometheus: str,
) -> None:
    def alerts() -> set[str]:
        return {alert["labels"]["alertname"] for alert in ask(prometheus, "alerts").get("alerts", [])}

    wait_until(lambda: {"FleetNoWorker", "FleetNoScheduler"} <= alerts(), timeout=MEANWHILE)
    targets = ask(prometheus, "targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    for expression in expressions_of_panels():
        assert ask(prometheus, f"query?{urlencode({'query': expression})}")["resultType"] == "vector", expression
