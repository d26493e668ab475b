"""How a text is cut into words and folded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.words import highlights, query_terms, storable, terms


def words(text: str) -> list[str]:
    return [term for term, _start, _end in terms(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The CAT sat.", ["the", "cat", "sat"]),
        ("Café, cafe\u0301 and CAFES", ["cafe", "cafe", "and", "cafe"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("invoices policies boxes glass bus", ["invoice", "policy", "boxe", "glass", "bus"]),
        ("snake_case e-mail 3.14", ["snake", "case", "e", "mail", "3", "14"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("ﬁne \U0001d401old ①", ["fine", "bold", "1"]),
        ("हिन्दी", ["हनद"]),
        ("😀 — !?", []),
        ("", []),
    ],
)
def test_words_are_folded(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text())
def test_each_word_lies_in_the_text_in_order_and_holds_letters_and_digits_only(text: str) -> None:
    end_before = 0
    for term, start, end in terms(text):
        assert end_before <= start < end <= len(text)
        assert term.isalnum()
        end_before = end


@pytest.mark.parametrize(
    ("text", "query", "marked"),
    [
        ("Pay the invoice. INVOICES are due.", "invoices", ["invoice", "INVOICES"]),
        ("😀 Das Café schließt", "cafe SCHLIESST", ["Café", "schließt"]),
        ("concatenate", "cat", []),
    ],
)
def test_highlights_are_the_words_of_the_query_in_the_text(text: str, query: str, marked: list[str]) -> None:
    assert [text[start:end] for start, end in highlights(text, query_terms(query))] == marked


def test_common_words_count_only_when_a_query_has_no_others() -> None:
    assert query_terms("what is the capital of France?") == ["capital", "france"]
    assert query_terms("who is who") == ["who", "is"]


def test_a_query_has_a_bounded_number_of_terms() -> None:
    assert len(query_terms(" ".join(f"word{n}x" for n in range(5000)))) == 32


def test_the_marks_of_one_text_are_bounded() -> None:
    assert len(highlights("cat " * 1000, ["cat"])) == 50


@given(st.text(st.characters(exclude_categories=[])))
def test_storable_text_is_encodable_without_nul_and_as_long_as_before(text: str) -> None:
    stored = storable(text)
    assert "\x00" not in stored
    assert len(stored) == len(text)
    stored.encode()
