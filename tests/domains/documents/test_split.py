"""Splitting: passages of a useful size that keep their page and heading and lose no word."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.domains.documents._extract import Section
from jobs.domains.documents._split import LONGEST_PIECE, split

SENTENCES = "The lighthouse was painted white in spring. Its keeper counted 412 ships that year. " * 100


def test_a_long_section_becomes_pieces_of_about_a_thousand_characters() -> None:
    pieces = list(split([Section(SENTENCES, 3, "Lighthouse")]))
    assert all(700 <= len(piece.text) <= LONGEST_PIECE for piece in pieces[:-1])
    assert {(piece.page, piece.section) for piece in pieces} == {(3, "Lighthouse")}


def test_pieces_end_at_sentences() -> None:
    assert all(piece.text.endswith(".") for piece in split([Section(SENTENCES)]))


def test_a_section_a_little_longer_than_a_piece_is_cut_in_halves_and_leaves_no_scrap() -> None:
    lengths = [len(piece.text) for piece in split([Section(SENTENCES[:1500])])]
    assert len(lengths) == 2
    assert min(lengths) > 500


def test_small_sections_under_one_heading_share_a_piece() -> None:
    pieces = list(split([Section("One.", 1, "A"), Section("Two.", 1, "A"), Section("Three.", 1, "B")]))
    assert [(piece.text, piece.section) for piece in pieces] == [("One.\n\nTwo.", "A"), ("Three.", "B")]


def test_a_piece_never_spans_two_pages() -> None:
    assert [piece.page for piece in split([Section("One.", 1), Section("Two.", 2)])] == [1, 2]


def test_a_heading_without_text_joins_what_follows() -> None:
    pieces = list(split([Section("Handbook", None, "Handbook"), Section("Hours\n\n38 a week.", None, "Hours")]))
    assert [(piece.text, piece.section) for piece in pieces] == [("Handbook\n\nHours\n\n38 a week.", "Hours")]


def test_sections_are_taken_one_at_a_time() -> None:
    taken: list[int] = []

    def sections() -> list[Section]:
        for number in range(1000):
            taken.append(number)
            yield Section(SENTENCES[:900], number)

    next(split(sections()))
    assert len(taken) < 5


def test_a_word_without_end_is_cut() -> None:
    pieces = list(split([Section("a" * 10_000)]))
    assert "".join(piece.text for piece in pieces) == "a" * 10_000
    assert all(len(piece.text) <= LONGEST_PIECE for piece in pieces)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Z"]), min_size=1, max_size=3000), max_size=8
    )
)
def test_no_character_is_lost_or_doubled(texts: list[str]) -> None:
    pieces = split([Section(text) for text in texts])
    assert "".join("".join(piece.text for piece in pieces).split()) == "".join("".join(texts).split())
