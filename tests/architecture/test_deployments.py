"""Procfile, the container image, the compose files and app.json start the same processes in the same way."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import yaml

from deploy.launcher import procfile
from jobs.settings import Settings
from tests.conftest import ROOT

PROCESSES = procfile.read(ROOT / "Procfile")
COMPOSE_FILES = ("compose.yml", "compose.simple.yml")
NOT_SETTINGS = re.compile(r"AWS_\w+|POSTGRES_\w+|MINIO_\w+")


def services(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / name).read_text(encoding="utf-8"))
    found: dict[str, Any] = content["services"]
    return found


def test_procfile_has_the_four_processes() -> None:
    assert list(PROCESSES) == ["release", "web", "worker", "scheduler"]


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_runs_procfiles_commands(name: str) -> None:
    ours = {service: body["command"] for service, body in services(name).items() if "build" in body}
    assert ours == PROCESSES


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_processes_start_after_the_release_has_succeeded(name: str) -> None:
    for process in PROCESSES.keys() - {"release"}:
        assert services(name)[process]["depends_on"]["release"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_a_compose_file_sets_only_variables_that_exist(name: str) -> None:
    known = {field.upper() for field in Settings.model_fields}
    for body in services(name).values():
        given = {variable for variable in body.get("environment", {}) if not NOT_SETTINGS.fullmatch(variable)}
        assert given <= known


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_stopping_waits_longer_than_the_grace_of_running_jobs(name: str) -> None:
    grace = Settings().shutdown_grace.total_seconds() + Settings().cancel_grace.total_seconds()
    for process in ("web", "worker", "scheduler"):
        assert int(services(name)[process]["stop_grace_period"].removesuffix("s")) >= grace


def test_the_image_serves_the_web_process_as_somebody_without_rights() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    command = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert command is not None
    assert json.loads(command[1]) == shlex.split(PROCESSES["web"])
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] not in ("root", "0")
    assert "HEALTHCHECK" in text


def test_the_image_holds_every_file_the_processes_need() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE))
    for needed in ("requirements/base.lock", "jobs", "webapp", "deploy", "worker.py"):
        assert re.search(rf"(^|\s){re.escape(needed)}\s", copied), needed


def test_heroku_forms_the_same_processes() -> None:
    app = json.loads((ROOT / "deploy/app.json").read_text(encoding="utf-8"))
    assert app["formation"].keys() == PROCESSES.keys() - {"release"}
    known = {field.upper() for field in Settings.model_fields}
    assert {name for name in app["env"] if not NOT_SETTINGS.fullmatch(name)} <= known


def test_web_concurrency_and_port_reach_the_server() -> None:
    conf = (ROOT / "deploy/gunicorn.conf.py").read_text(encoding="utf-8")
    assert "settings.port" in conf
    assert "settings.web_concurrency" in conf
