"""Backoff and overrides: pure, so tested as tables and properties."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine import (
    Cancelled,
    Expired,
    InvalidJob,
    InvalidPayload,
    Permanent,
    Policy,
    Queue,
    Retention,
    Retry,
    Retryable,
    connect,
)
from jobs.settings import InvalidSettings, Settings

FIVE_TIMES = Retry(max_retries=5, first=timedelta(seconds=30))


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480)])
def test_the_longest_wait_doubles_with_each_attempt(attempt: int, seconds: int) -> None:
    assert FIVE_TIMES.longest_wait_after(attempt, ConnectionError()) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("strategy", "seconds"), [("exponential", 8), ("linear", 6), ("fixed", 2)])
def test_each_strategy_grows_in_its_own_way(strategy: str, seconds: int) -> None:
    retry = Retry(max_retries=5, first=timedelta(seconds=2), strategy=strategy)  # type: ignore[arg-type]
    assert retry.longest_wait_after(3, ValueError()) == timedelta(seconds=seconds)


@pytest.mark.parametrize("error", [Permanent("encrypted"), InvalidPayload("x"), Cancelled(), Expired()])
def test_what_no_retry_mends_is_never_retried(error: Exception) -> None:
    assert FIVE_TIMES.wait_after(1, error) is None


def test_the_run_after_the_last_retry_is_final() -> None:
    assert FIVE_TIMES.wait_after(5, ValueError()) is not None
    assert FIVE_TIMES.wait_after(6, ValueError()) is None


def test_a_providers_retry_after_is_kept_to_exactly() -> None:
    assert FIVE_TIMES.wait_after(1, Retryable("busy", after=timedelta(minutes=7))) == timedelta(minutes=7)


@given(
    attempt=st.integers(1, 5),
    first=st.integers(0, 5000),
    draw=st.floats(0, 1, exclude_max=True),
    strategy=st.sampled_from(["exponential", "linear", "fixed"]),
)
def test_full_jitter_stays_between_nothing_and_the_longest_wait(
    attempt: int, first: int, draw: float, strategy: str
) -> None:
    retry = Retry(max_retries=5, first=timedelta(milliseconds=first), strategy=strategy)  # type: ignore[arg-type]
    longest = retry.longest_wait_after(attempt, ValueError())
    wait = retry.wait_after(attempt, ValueError(), draw)
    assert longest is not None
    assert wait is not None
    assert timedelta(0) <= wait <= longest <= retry.longest


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Retry(max_retries=-1),
        lambda: Retry(first=timedelta(seconds=-1)),
        lambda: Retry(strategy="often"),  # type: ignore[arg-type]
        lambda: Retention(finished=timedelta(seconds=-1)),
        lambda: Policy(timeout=timedelta(0)),
        lambda: Policy(memory_mb=1),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(declare: object) -> None:
    with pytest.raises(InvalidJob):
        declare()  # type: ignore[operator]


def test_the_environment_overrides_the_fleets_and_one_types_policy() -> None:
    settings = Settings.from_env(
        {
            "QUEUE_MAX_RETRIES": "7",
            "QUEUE_BACKOFF_STRATEGY": "linear",
            "QUEUE_MAX_RETRIES__DOCUMENTS_INGEST": "1",
            "QUEUE_TIMEOUT__DOCUMENTS_INGEST": "90",
            "QUEUE_PRIORITY__DOCUMENTS_INGEST": "critical",
        }
    )
    ingest = Policy().with_overrides("documents.ingest", settings)
    other = Policy().with_overrides("chat.reply", settings)
    assert (ingest.retry.max_retries, ingest.timeout, ingest.queue) == (1, timedelta(seconds=90), Queue.CRITICAL)
    assert (other.retry.max_retries, other.retry.strategy, other.queue) == (7, "linear", Queue.DEFAULT)


@pytest.mark.parametrize("value", ["many", "-1"])
def test_an_override_that_makes_no_sense_names_the_type(value: str) -> None:
    settings = Settings.from_env({"QUEUE_MAX_RETRIES__CHAT_REPLY": value})
    with pytest.raises(InvalidSettings, match=r"chat\.reply"):
        Policy().with_overrides("chat.reply", settings)


def test_a_fleet_does_not_start_with_an_override_it_cannot_use(environ: dict[str, str]) -> None:
    settings = Settings.from_env({**environ, "QUEUE_TIMEOUT__SAMPLES_DOUBLE": "soon"})
    with pytest.raises(InvalidSettings, match=r"samples\.double"):
        connect(settings).discover()
