"""Text formats: encodings, cleaning, delimiters, nesting of markup, and which of them a file is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.domains.documents._extract import Section, Unreadable, extract, recognise
from jobs.domains.documents._extract.clean import clean, clean_line

SENTENCES = {
    "cp1252": "Le café de Zürich est fermé à Noël.\nDéjà vu: crème brûlée \u2013 5 €.\n",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy.\n",
    "cp1251": "Съешь же ещё этих мягких французских булок, да выпей чаю.\n",
    "koi8_r": "Съешь же ещё этих мягких французских булок, да выпей чаю.\n",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "gb18030": "人人生而自由,在尊严和权利上一律平等。\n",
    "big5": "人人生而自由,在尊嚴和權利上一律平等。\n",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n",
    "cp1253": "Καλημέρα, πού πηγαίνεις σήμερα το πρωί;\n",
    "utf-8": "Zażółć gęślą jaźń 🙂\n",
    "utf-8-sig": "Zażółć gęślą jaźń\n",
    "utf-16": "Zażółć gęślą jaźń 🙂\n",
    "utf-32": "Zażółć gęślą jaźń 🙂\n",
    "utf-16-be": "Every good boy does fine\n",
}


def sections_of(path: Path, content: bytes, name: str) -> list[Section]:
    file = path / "upload"
    file.write_bytes(content)
    return list(extract(file, name=name).sections)


def text_of(path: Path, content: bytes, name: str) -> str:
    return "\n".join(section.text for section in sections_of(path, content, name))


@pytest.mark.parametrize("encoding", SENTENCES)
def test_a_text_file_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    sentence = SENTENCES[encoding]
    assert text_of(tmp_path, (sentence * 5).encode(encoding), "a.txt") == clean(sentence * 5)


def test_a_legacy_letter_far_into_a_long_file_is_found(tmp_path: Path) -> None:
    content = b"plain words in a row\n" * 20_000 + "in Köln\n".encode("cp1252")
    assert text_of(tmp_path, content, "a.txt").endswith("in Köln")


def test_a_letter_on_the_border_of_two_blocks_is_whole(tmp_path: Path) -> None:
    content = b"a" * (64 * 1024 - 1) + "é and more".encode()
    assert "éandmore" in "".join(text_of(tmp_path, content, "a.txt").split())


def test_a_page_is_read_in_the_encoding_it_declares(tmp_path: Path) -> None:
    page = '<html><head><meta charset="iso-8859-2"></head><body><p>żółć</p></body></html>'
    assert "żółć" in text_of(tmp_path, page.encode("iso-8859-2"), "a.html")


def test_a_page_that_is_utf8_is_read_so_whatever_it_declares(tmp_path: Path) -> None:
    page = '<html><head><meta charset="iso-8859-1"></head><body><p>Köln</p></body></html>'
    assert "Köln" in text_of(tmp_path, page.encode(), "a.html")


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a\0b\x07c", "abc"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("a \t\u00a0 b", "a b"),
        ("a  \n \n\n\n  b", "a\n\nb"),
        ("e\u0301", "\u00e9"),
        ("e\ufb03cient", "efficient"),
        ("co\u00adoperate\u200b", "cooperate"),
        ("x\ud800y", "xy"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ],
)
def test_text_is_cleaned(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters()))
def test_clean_text_is_encodable_and_stays_as_it_is_when_cleaned_again(text: str) -> None:
    once = clean(text)
    assert "\0" not in once
    assert once.encode().decode() == once
    assert clean(once) == once


def test_a_title_is_one_short_line() -> None:
    assert clean_line(" A\n title \0" + "x" * 500) == "A title " + "x" * 192


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (b"<!DOCTYPE html><p>hi", "notes.txt", "text/html"),
        (b"\n<!-- by hand -->\n<html>", "x", "text/html"),
        (b"<p>a fragment</p>", "part.html", "text/html"),
        (b'{"a": 1}', "x.txt", "application/json"),
        (b'{"a": 1}\n{"a": 2}\n', "x.jsonl", "application/json"),
        (b"[a link](http://example.org) and words", "x", "text/plain"),
        (b"# Title\n\n- one\n- two\n", "readme", "text/markdown"),
        (b"# a comment\nkey = value\n", "settings", "text/plain"),
        (b"plain words", "x.md", "text/markdown"),
        (b"a;b;c\n1;2;3\n4;5;6\n", "x", "text/csv"),
        (b"Dear Anna,\nthank you, dear,\nfor all.\n", "x", "text/plain"),
        (b"one\ttwo\n", "x.tsv", "text/csv"),
        (b"MZ is how programs begin, and BM pictures\n", "x.txt", "text/plain"),
        (b"About PDF: a file begins with %PDF-1.7 and so on\n", "x.txt", "text/plain"),
        ("# Über uns\n".encode("utf-16"), "x.md", "text/markdown"),
    ],
)
def test_text_is_recognised_by_content_and_only_then_by_name(
    tmp_path: Path, content: bytes, name: str, kind: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    assert recognise(tmp_path / "x", name) == kind


@pytest.mark.parametrize("head", [b"{\\rtf1 hello}", b"%!PS-Adobe-3.0\n"])
def test_other_markup_for_printers_is_refused(tmp_path: Path, head: bytes) -> None:
    with pytest.raises(Unreadable, match="files are not supported"):
        sections_of(tmp_path, head, "a.txt")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_of_a_table_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = "\n".join(delimiter.join(row) for row in (["name", "town"], ["Anna", "Ulm"], ["Ben", "Bonn"]))
    assert "name: Ben | town: Bonn" in text_of(tmp_path, rows.encode(), "a.csv")


def test_a_table_without_a_header_is_read_as_rows(tmp_path: Path) -> None:
    assert text_of(tmp_path, b"1,Anna\n2,Ben\n", "a.csv") == "1 | Anna\n2 | Ben"


def test_a_line_break_in_quotes_stays_in_its_cell(tmp_path: Path) -> None:
    assert "note: two lines | town: Ulm" in text_of(tmp_path, b'note,town\n"two\nlines",Ulm\n', "a.csv")


def test_json_lines_are_read_one_by_one(tmp_path: Path) -> None:
    assert text_of(tmp_path, b'{"a": 1}\n{"a": {"b": true}}\n', "a.jsonl") == "a: 1\na.b: true"


def test_a_broken_line_of_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="line 3 of the file is not valid JSON"):
        sections_of(tmp_path, b'{"a": 1}\n{"a": 2}\n{"a": \n', "a.jsonl")


def test_numbers_of_json_keep_their_digits(tmp_path: Path) -> None:
    assert "pi: 3.14159265358979323846" in text_of(tmp_path, b'{"pi": 3.14159265358979323846}', "a.json")


def test_text_under_a_heading_is_named_by_it_in_html(tmp_path: Path) -> None:
    page = b"<title>Site</title><p>before<h1>One</h1><p>first<h2>Two</h2>second<script>no()</script>"
    sections = sections_of(tmp_path, b"<html>" + page, "a.html")
    assert [(section.title, section.text) for section in sections] == [
        ("Site", "before"),
        ("One", "One\n\nfirst"),
        ("Two", "Two\n\nsecond"),
    ]


def test_headings_inside_a_code_block_of_markdown_are_no_headings(tmp_path: Path) -> None:
    sections = sections_of(tmp_path, b"# Real\n\n```sh\n# not one\n```\n", "a.md")
    assert [section.title for section in sections] == ["Real"]


def test_a_long_markdown_file_is_read_whole(tmp_path: Path) -> None:
    chapters = "".join(f"# Chapter {number}\n\n{'words and more words. ' * 300}\n\n" for number in range(60))
    sections = sections_of(tmp_path, chapters.encode(), "a.md")
    assert [section.title for section in sections] == [f"Chapter {number}" for number in range(60)]
    assert sum(len(re.findall("more", section.text)) for section in sections) == 60 * 300


def test_a_long_text_is_cut_between_words(tmp_path: Path) -> None:
    sections = sections_of(tmp_path, b"word " * 100_000, "a.txt")
    assert len(sections) > 1
    assert {word for section in sections for word in section.text.split()} == {"word"}
