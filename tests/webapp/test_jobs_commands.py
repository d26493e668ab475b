"""Single jobs on the command line: found, shown, changed, on record."""

from __future__ import annotations

import json

import pytest
from apiflask import APIFlask
from click.testing import Result

from jobs.engine import Fleet
from tests.webapp.test_jobs_console import dead, delayed, environ, queued

__all__ = ["environ"]

HOSTILE = "\x1b[31m<script>alert('canary')</script>"


def test_the_command_line_does_the_same(app: APIFlask, fleet: Fleet) -> None:
    failed, later, waits = dead(fleet, HOSTILE, tenant="ours"), delayed(), queued(7)
    listed = json.loads(shell(app, "list", "--json").stdout)
    assert [view["id"] for view in listed["items"]] == [waits, later, failed]
    assert failed in shell(app, "list", "--state", "failed", "--tenant", "ours").stdout
    assert waits not in shell(app, "search", "canary").stdout and failed in shell(app, "search", "canary").stdout
    shown = shell(app, "show", failed).stdout
    assert "?[31m<script>" in shown and "\x1b" not in shown and "attempt 1 (failed)" in shown
    page = shell(app, "list", "--limit", "1").stdout
    assert later in shell(app, "list", "--cursor", page.split()[-1]).stdout
    assert shell(app, "promote", later, "--back").exit_code == 0
    assert shell(app, "cancel", later, "--cascade").exit_code == 0
    assert shell(app, "retry", failed, "--by", "ada").exit_code == 0
    plan = json.loads(shell(app, "cancel", "--state", "queued", "--json").stdout)
    assert plan["count"] == 2 and fleet.jobs.get(waits).status == "queued"
    assert json.loads(shell(app, "cancel", "--bound", plan["bound"], "--json").stdout)["done"] == 2
    assert shell(app, "discard", waits).exit_code == 0
    lines = fleet.audit.search().items
    assert [line.action for line in lines][::-1] == [
        *("job.promote", "job.cancel", "job.retry", "job.cancel", "job.discard"),
    ]
    assert {line.subject for line in lines} >= {"ada"} and {line.how for line in lines} == {"shell"}


@pytest.mark.parametrize(
    "words",
    [
        ("show", "nothing"),
        ("list", "--state", "running"),
        ("list", "--since", "yesterday"),
        ("list", "--field", "x"),
        ("list", "--cursor", "x"),
        ("list", "--limit", "0"),
        ("cancel", "--bound", "x"),
        ("cancel", "--bound", "x", "--type", "y"),
        ("cancel", "one", "--type", "y"),
        ("cancel", "--cascade"),
        ("cancel", "--state", "completed"),
        ("retry", "nothing"),
    ],
)
def test_the_command_line_refuses_what_makes_no_sense(app: APIFlask, words: tuple[str, ...]) -> None:
    answer = shell(app, *words)
    assert answer.exit_code in (1, 2) and "Traceback" not in answer.output, answer.output


def test_a_bound_is_for_the_action_of_its_dry_run(app: APIFlask, fleet: Fleet) -> None:
    waits = queued()
    plan = json.loads(shell(app, "cancel", "--json").stdout)
    assert shell(app, "retry", "--bound", plan["bound"]).exit_code == 1
    assert fleet.jobs.get(waits).status == "queued"


def shell(app: APIFlask, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["jobs", *words])
