"""Job types are checked when their module is imported."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Context, InvalidJob, Payload, UnknownJob, job, registry


class Empty(Payload):
    pass


class Needs(Payload):
    value: int


def body(payload: Empty, context: Context) -> None:
    """What it does."""


def needs(payload: Needs, context: Context) -> None: ...


def no_payload(payload: int, context: Context) -> None: ...


def one_parameter(payload: Empty) -> None: ...


async def coroutine(payload: Empty, context: Context) -> None: ...


@pytest.mark.parametrize(
    ("name", "function", "options", "says"),
    [
        ("Documents.Ingest", body, {}, "noun.verb"),
        ("ingest", body, {}, "noun.verb"),
        ("tests.lane", body, {"lane": "fast"}, "unknown lane 'fast'"),
        ("tests.payload", no_payload, {}, "subclass of Payload"),
        ("tests.shape", one_parameter, {}, "payload, context"),
        ("tests.coroutine", coroutine, {}, "plain function"),
        ("tests.every", needs, {"every": timedelta(hours=1)}, "needs a default"),
        ("tests.often", body, {"every": timedelta(milliseconds=1)}, "at least a second"),
    ],
)
def test_a_declaration_that_contradicts_itself_says_why(
    name: str, function: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidJob, match=says):
        job(name, **options)(function)
    with pytest.raises(UnknownJob):
        registry.get(name)


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
