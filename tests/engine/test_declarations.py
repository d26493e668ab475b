"""Job types are checked when their module is imported."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Context, Cron, InvalidJob, Limit, Payload, Secret, UnknownJob, job, registry


class Empty(Payload):
    pass


class Needs(Payload):
    value: int


class Knows(Payload):
    key: Secret[str] | None = None


def body(payload: Empty, context: Context) -> None:
    """What it does."""


def needs(payload: Needs, context: Context) -> None: ...


def knows(payload: Knows, context: Context) -> None: ...


def no_payload(payload: int, context: Context) -> None: ...


def one_parameter(payload: Empty) -> None: ...


async def coroutine(payload: Empty, context: Context) -> None: ...


@pytest.mark.parametrize(
    ("name", "function", "options", "says"),
    [
        ("Documents.Ingest", body, {}, "noun.verb"),
        ("ingest", body, {}, "noun.verb"),
        ("tests." + "x" * 95, body, {}, "at most 100 characters"),
        ("tests.lane", body, {"lane": "fast"}, "unknown lane 'fast'"),
        ("tests.payload", no_payload, {}, "subclass of Payload"),
        ("tests.shape", one_parameter, {}, "payload, context"),
        ("tests.coroutine", coroutine, {}, "plain function"),
        ("tests.every", needs, {"every": timedelta(hours=1)}, "needs a default"),
        ("tests.often", body, {"every": timedelta(milliseconds=1)}, "at least a second"),
        ("tests.cron", needs, {"cron": Cron("0 7 * * *")}, "needs a default"),
        ("tests.cron", body, {"cron": "0 7 * * *"}, "tests.cron: write cron=Cron"),
        ("tests.cron", body, {"cron": Cron("0 7 * * *"), "every": timedelta(hours=1)}, "not both"),
        ("tests.overlap", body, {"overlap": "skip"}, "need every= or cron="),
        ("tests.overlap", body, {"every": timedelta(hours=1), "overlap": "wait"}, "'skip' or 'queue'"),
        ("tests.overlap", body, {"every": timedelta(hours=1), "catch_up": "some"}, "'none', 'last' or 'all'"),
        ("tests.overlap", body, {"every": timedelta(hours=1), "catch_up": "all"}, "needs overlap='queue'"),
        ("tests.overlap", body, {"every": timedelta(hours=1), "catch_up_limit": 0}, "from 1 to 1000"),
        ("tests.limit", needs, {"limit": Limit(1, per="flow_id")}, "'flow_id', which is no field of Needs"),
        ("tests.limit", needs, {"limit": Limit(1, per=("value", "flow_id"))}, "'flow_id', which is no field"),
        ("tests.limit", needs, {"limit": Limit(fair="tenant_id")}, "'tenant_id', which is no field of Needs"),
        ("tests.limit", knows, {"limit": Limit(1, per="key")}, "a secret"),
        ("tests.limit", needs, {"limit": (Limit(1), Limit(2))}, "same kind"),
        ("tests.limit", needs, {"limit": (Limit(fair="value"), Limit(1, fair="value"))}, "same kind"),
    ],
)
def test_a_declaration_that_contradicts_itself_says_why(
    name: str, function: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidJob, match=says):
        job(name, **options)(function)
    with pytest.raises(UnknownJob):
        registry.get(name)


@pytest.mark.parametrize("options", [{}, {"count": 0}, {"per": "value"}, {"fair": "value", "per": "value"}])
def test_a_limit_that_limits_nothing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        Limit(**options)


def test_a_name_can_be_declared_only_once() -> None:
    job("tests.twice")(body)
    job("tests.twice")(body)
    with pytest.raises(InvalidJob, match=r"tests\.twice is declared twice"):
        job("tests.twice")(needs)


def test_a_declared_type_is_still_its_function() -> None:
    declared = job("tests.called")(body)
    assert declared(Empty(), None) is None  # type: ignore[arg-type]
    assert declared.description == "What it does."
    assert registry.get("tests.called") is declared
