"""Log lines as an operator's tools read them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from pydantic import BaseModel

from jobs.engine import logs
from jobs.engine.log_redaction import redact, scrub
from jobs.settings import Settings
from tests.conftest import ROOT

CANARY = "canary-5f1e"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


class Payload(BaseModel):
    text: str


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put the logging of the test run itself back."""
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook)
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], sys.excepthook, threading.excepthook = handlers, *hooks
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    """Where the lines of a process called "worker" go, as JSON."""
    stream = io.StringIO()
    logs.configure(Settings(environment="test", log_format="json"), "worker", stream)
    return stream


def test_a_line_is_one_json_object_with_time_level_event_logger_and_process(stream: io.StringIO) -> None:
    structlog.get_logger("jobs.engine").info("job completed\nsecond line", seconds=1.5)
    [line] = lines(stream)
    time = datetime.fromisoformat(line.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert isinstance(line.pop("pid"), int)
    assert line == {
        "level": "info",
        "event": "job completed\nsecond line",
        "logger": "jobs.engine",
        "process": "worker",
        "seconds": 1.5,
    }


def test_fields_never_displace_the_lines_own(stream: io.StringIO) -> None:
    structlog.get_logger("a").info("x", time="never", level="odd", pid="none", process="other")
    [line] = lines(stream)
    assert (line["level"], line["process"]) == ("info", "worker")
    assert line["time"] != "never"


def test_lines_inside_a_job_name_it(stream: io.StringIO) -> None:
    log = structlog.get_logger("a")
    with logs.bound_job_context("id-1", "documents.ingest", tenant="acme", correlation_id="c-1"):
        log.info("inside")
        with logs.bound_job_context("id-2", "documents.reembed"):
            logging.getLogger("rq.worker").warning("nested %s", "line")
        log.info("inside again")
    log.info("outside")
    inside, nested, again, outside = lines(stream)
    job = {"job_id": "id-1", "job_type": "documents.ingest", "tenant": "acme", "correlation_id": "c-1"}
    assert job.items() <= inside.items()
    assert job.items() <= again.items()
    assert (nested["job_id"], nested["event"], nested["level"]) == ("id-2", "nested line", "warning")
    assert not job.keys() & outside.keys()


@pytest.mark.parametrize("name", ["rq.worker", "gunicorn.error", "werkzeug", "alembic", "sqlalchemy", "any.other"])
def test_libraries_write_the_same_lines_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = logging.getLogger(name)
    if name != "any.other":
        own.addHandler(logging.StreamHandler(sys.stdout))
    stream = io.StringIO()
    for _ in range(2):
        logs.configure(Settings(environment="test", log_format="json"), "web", stream)
    own.warning("from %s", name)
    [line] = lines(stream)
    assert (line["logger"], line["event"], line["process"]) == (name, f"from {name}", "web")
    assert capsys.readouterr().out == ""


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logs.configure(Settings(environment="test", log_format="json", log_level="WARNING"), "web", stream)
    structlog.get_logger("a").info("no")
    logging.getLogger("a").info("no")
    structlog.get_logger("a").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def _fail(password: str) -> None:
    local = password * 2
    try:
        {}[len(local)]
    except KeyError as error:
        raise ValueError(f"can't reach redis://:{CANARY}@cache/0") from error


@pytest.mark.parametrize("style", ["structlog", "standard"])
def test_an_exception_is_structured_without_local_variables_or_credentials(stream: io.StringIO, style: str) -> None:
    try:
        _fail(CANARY)
    except ValueError:
        if style == "structlog":
            structlog.get_logger("a").exception("it failed")
        else:
            logging.getLogger("a").exception("it failed")
    [line] = lines(stream)
    error, cause = line["exception"]
    assert line["level"] == "error"
    assert (error["exc_type"], cause["exc_type"]) == ("ValueError", "KeyError")
    assert error["frames"][-1]["name"] == "_fail"
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"password": CANARY},
        {"Authorization": f"Bearer {CANARY}"},
        {"client_secret": [CANARY]},
        {"api_key": CANARY, "X-Api-Key": CANARY},
        {"headers": {"cookie": CANARY, "nested": [{"access_token": CANARY}]}},
        {"url": f"rediss://user:{CANARY}@cache:6379/0"},
        {"url": f"https://example.com/ws?a=1&token={CANARY}&b=2"},
        {"note": f"password: {CANARY}, then"},
        {"dsn_text": f"host=db user=me password={CANARY} dbname=x"},
        {"raw": b"token=" + CANARY.encode()},
        {"error": ValueError(f"secret='{CANARY}'")},
        {"payload": Payload(text=CANARY)},
        {"header": f"Authorization: Basic {CANARY}"},
        {"line": f"GET /api/ws?token={CANARY} HTTP/1.1"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_credentials_are_struck_out_of_fields_and_texts(stream: io.StringIO, fields: dict[str, Any]) -> None:
    structlog.get_logger("a").info("x", **fields)
    logging.getLogger("a").info("%s", fields)
    first, second = lines(stream)
    assert CANARY not in json.dumps(first)
    assert CANARY not in json.dumps(second) or "payload" in fields  # its repr is the caller's own text


def test_tokens_are_struck_out_by_their_look() -> None:
    assert scrub(f"got {JWT}") == "got ***"
    assert scrub("bearer abcdefghijklmnopqrstuvwxyz") == "bearer ***"


def test_what_is_no_credential_is_left_alone() -> None:
    harmless = {
        "event_id": "1700000000000-0",
        "max_tokens": 12,
        "url": "https://example.com/a@b?page=2",
        "text": "tokens=12, see http://x.example/y: fine",
        "topic": "job:completed",
    }
    assert redact(harmless) == harmless


def test_any_value_becomes_valid_json(stream: io.StringIO) -> None:
    loop: list[Any] = []
    loop.append(loop)
    structlog.get_logger("a").info(
        "x",
        nan=float("nan"),
        at=datetime(2026, 1, 2, tzinfo=UTC),
        wait=timedelta(seconds=90),
        path=Path("a/b"),
        id=UUID(int=1),
        bad=Unprintable(),
        loop=loop,
        keys={1: {2: "three"}},
        surrogate="\udc80",
        many=list(range(10_000)),
        long="x" * 100_000,
    )
    [line] = lines(stream)
    assert (line["nan"], line["wait"], line["path"], line["bad"]) == ("nan", 90.0, "a/b", "<Unprintable>")
    assert line["keys"] == {"1": {"2": "three"}}
    assert len(stream.getvalue()) < 50_000


@pytest.mark.timeout(60)
def test_a_hostile_text_is_scrubbed_in_linear_time() -> None:
    """And what comes behind it is, too."""
    for text in (
        "token" * 20_000 + "=",
        "://" * 30_000,
        "password" + " " * 90_000,
        "eyJ" + "a." * 40_000,
        "=" * 90_000,
    ):
        assert "hunter2" not in scrub(f"{text} password=hunter2")


def test_a_closed_stream_breaks_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    logs.configure(Settings(environment="test", log_format="json"), "worker", stream)
    stream.close()
    structlog.get_logger("a").info("nobody reads this")
    logging.getLogger("a").warning("nor this")
    assert capfd.readouterr() == ("", ""), "the standard logging tells of its own errors there"


def test_development_lines_are_readable_text_without_credentials() -> None:
    stream = io.StringIO()
    logs.configure(Settings(environment="development", log_format="console"), "web", stream)
    try:
        _fail(CANARY)
    except ValueError:
        structlog.get_logger("a").exception("it failed", job_id="id-1", token=CANARY)
    text = stream.getvalue()
    assert "it failed" in text
    assert "job_id=id-1" in text
    assert "Traceback" in text
    assert CANARY not in text


def test_a_crash_is_one_json_line_too() -> None:
    script = """
import threading
from jobs.engine import logs
from jobs.settings import Settings
logs.configure(Settings(environment="test", log_format="json"), "web")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise LookupError("gone")
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    in_thread, at_last = (json.loads(line) for line in ended.stderr.splitlines())
    assert ended.returncode == 1
    assert (in_thread["level"], in_thread["exception"][0]["exc_type"]) == ("critical", "ZeroDivisionError")
    assert at_last["exception"][0]["exc_value"] == "gone"
