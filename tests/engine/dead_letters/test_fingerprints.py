"""Fingerprints: the same for repeats of an error, whatever they name, and different for different errors."""

from __future__ import annotations

import string
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine import TimedOut, fingerprints
from jobs.engine.outcome import of_error
from jobs.engine.policy import Retry
from tests.conftest import ROOT

WORDS = st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=8)
VARIABLES: tuple[st.SearchStrategy[str], ...] = (
    st.integers(0, 10**12).map(str),
    st.floats(0.001, 10**6, allow_nan=False).map(lambda number: f"{number:.3f}"),
    st.uuids().map(str),
    st.integers(10**6, 2**128).map(hex),
    st.integers(10**12, 2**160).map(lambda number: f"{number:x}"),
    st.lists(WORDS, min_size=2, max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.tuples(WORDS, WORDS, st.integers(1, 65535)).map(lambda url: f"https://{url[0]}.example:{url[2]}/{url[1]}"),
    st.tuples(WORDS, WORDS).map(lambda parts: f"{parts[0]}@{parts[1]}.example"),
    st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}"),
)


@pytest.mark.parametrize(
    ("message", "normal"),
    [
        ("", ""),
        ("no such page", "no such page"),
        ("page 4 of 12 is missing", "page <n> of <n> is missing"),
        ("job 8f14e45fceea167a5a36dedd4bea2543 is gone", "job <n> is gone"),
        ("row 123e4567-e89b-12d3-a456-426614174000", "row <n>"),
        ("at 0x7f9acd4a3ed0>", "at <n>>"),
        ("can't open /var/data/a1/file.txt: denied", "can't open <path>: denied"),
        ("can't open 'C:\\temp\\x.csv'", "can't open '<path>'"),
        ("GET https://example.org/a?b=1 gave 502", "GET <url> gave <n>"),
        ("to ada.lovelace+1@mail.example.org bounced", "to <address> bounced"),
        ("timed out after 1.5e-3 s (limit 10.0)", "timed out after <n> s (limit <n>)"),
        ("connect to 10.0.0.7:5432 failed", "connect to <n> failed"),
        ("since 2026-11-22T09:43:50Z", "since <n>:<n>:<n>"),
        ("  many \n\n spaces\t", "many spaces"),
        ("KeyError: 'user_12'", "KeyError: '<n>'"),
        ("x" * 5000, "x" * 300),
    ],
)
def test_what_names_the_single_case_is_left_out(message: str, normal: str) -> None:
    assert fingerprints.normalised(message) == normal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ValueError", "no such page", ()), ("KeyError", "no such page", ())),
        (("ValueError", "no such page", ()), ("ValueError", "no such file", ())),
        (("ValueError", "no such page", ("a.f",)), ("ValueError", "no such page", ("a.g",))),
        (("ValueError", "a", ("b",)), ("ValueError", "a\nb", ())),
    ],
)
def test_type_words_and_frames_tell_errors_apart(
    one: tuple[str, str, tuple[str]], other: tuple[str, str, tuple[str]]
) -> None:
    assert fingerprints.made_of(*one) != fingerprints.made_of(*other)


@settings(max_examples=300)
@given(st.data())
def test_a_message_with_other_values_has_the_same_fingerprint(data: st.DataObject) -> None:
    words = data.draw(st.lists(WORDS, min_size=1, max_size=6))
    kinds = data.draw(st.lists(st.sampled_from(VARIABLES), min_size=1, max_size=4))
    brackets = data.draw(st.sampled_from(["{}", "'{}'", '"{}"', "({})", "<{}>", "={}", "{},", "[{}]"]))

    def message() -> str:
        values = [brackets.format(data.draw(kind)) for kind in kinds]
        pieces = [piece for n, word in enumerate(words) for piece in (word, *values[n : n + 1])]
        return " ".join([*pieces, *values[len(words) :]])

    one, other = message(), message()
    assert fingerprints.normalised(one) == fingerprints.normalised(other)
    assert fingerprints.made_of("E", one, ("f",)) == fingerprints.made_of("E", other, ("f",))


@settings(max_examples=300)
@given(st.text(max_size=400), st.text(max_size=20), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_has_one_and_normalising_twice_changes_nothing(message: str, kind: str, frames: list[str]) -> None:
    normal = fingerprints.normalised(message)
    assert len(normal) <= 300
    assert fingerprints.normalised(normal) == normal
    assert fingerprints.is_one(fingerprints.made_of(kind, message, frames))


def test_it_is_the_same_in_another_process() -> None:
    code = "from jobs.engine import fingerprints; print(fingerprints.made_of('E', 'page 3', ['a.f']))"
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert there.strip() == fingerprints.made_of("E", "page 4", ["a.f"])


def test_where_it_was_raised_tells_errors_apart_and_the_line_does_not() -> None:
    def here(number: int) -> None:
        if number == 1:
            raise ValueError("no such page")
        raise ValueError("no such page")

    def there() -> None:
        raise ValueError("no such page")

    assert found(lambda: here(1)) == found(lambda: here(2)) != found(there)


def test_frames_of_libraries_do_not_count() -> None:
    def reads(text: str) -> None:
        __import__("json").loads(text)

    assert found(lambda: reads('{"a" 1}')) == found(lambda: reads('{"a": {"b" 1}}'))


def test_a_timeout_is_one_error_wherever_it_hits() -> None:
    def here() -> None:
        raise TimedOut("the job ran longer than 10 s")

    def there() -> None:
        raise TimedOut("the job ran longer than 20 s")

    assert found(here) == found(there)


def test_an_exception_that_can_not_say_what_it_is_has_one_too() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    ended = of_error(Mute(), Retry(max_retries=0), 1)
    assert fingerprints.is_one(ended.fingerprint)
    assert (ended.kind, ended.text) == ("failed", "Mute")


def found(raises: Callable[[], None]) -> str:
    try:
        raises()
    except Exception as error:
        return fingerprints.of(error)
    raise AssertionError("it did not raise")
