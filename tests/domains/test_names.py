# ruff: noqa: RUF001
"""File names as they are shown, whatever somebody posted."""

from __future__ import annotations

import pytest

from jobs.domains.documents._names import display_name


@pytest.mark.parametrize(
    ("posted", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("C:\\Users\\me\\notes.txt", "notes.txt"),
        ("folder/", "folder"),
        ("nul\0byte.txt", "nulbyte.txt"),
        ("line\nbreak\r\n.txt", "linebreak.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\u2066b\u200fc\u061cd\ufeff.md", "abcd.md"),
        ("\ud800broken.md", "broken.md"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("Übersicht – Straße.pdf", "Übersicht – Straße.pdf"),
        ("U\u0308bersicht.pdf", "Übersicht.pdf"),
        ("报告.docx", "报告.docx"),
        ("می\u200cخواهم.txt", "می\u200cخواهم.txt"),
        ("👩\u200d🚀.md", "👩\u200d🚀.md"),
        ("  spaced .txt ", "spaced .txt"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        ("\u202e\0", "unnamed"),
        ("\u200d", "unnamed"),
        (".env", ".env"),
    ],
)
def test_a_name_is_shown_without_what_could_mislead(posted: str, shown: str) -> None:
    assert display_name(posted) == shown


@pytest.mark.parametrize("letter", ["a", "ß", "报", "👩"])
def test_a_long_name_keeps_its_extension_and_whole_letters(letter: str) -> None:
    shown = display_name(letter * 300 + ".pdf")
    assert 250 <= len(shown.encode()) <= 255
    assert shown == letter * (len(shown) - 4) + ".pdf"


def test_a_long_extension_is_cut_too() -> None:
    assert len(display_name("a." + "b" * 400).encode()) == 255
