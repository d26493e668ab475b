"""What the launcher prints about files and passages: never what could steer the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from deploy.launcher import report
from deploy.launcher.arguments import Missing
from deploy.launcher.plain import plain
from deploy.launcher.progress import Bars
from deploy.launcher.transfer import Transfer

EVIL = "a\x1b[31m\x1b]0;owned\x07\r\u202egnp.\x9b2J\udcff\n.txt"


def transfer(name: str, stage: str = "completed", error: str | None = None) -> Transfer:
    made = Transfer(Path(name))
    made.end(stage, error)
    return made


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


def test_control_characters_of_names_and_passages_are_replaced(console: Console) -> None:
    transfers = [transfer(EVIL, "failed", EVIL)]
    with Bars(console, transfers):
        pass
    report.summarise(console, transfers, [Missing(EVIL, "there is no such file")])
    hit = {"document_name": EVIL, "section": EVIL, "text": EVIL, "score": 1.0, "highlights": [[0, 1]]}
    report.answer(console, EVIL, [hit])
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "a\ufffd[31m" in printed
    assert not set(printed) & set("\x1b\x07\r\u202e\x9b\udcff")


def test_a_name_keeps_its_length_and_what_people_write() -> None:
    assert len(plain(EVIL)) == len(EVIL)
    assert plain("Übung \u2014 \U0001f469\u200d\U0001f52c.md") == "Übung \u2014 \U0001f469\u200d\U0001f52c.md"


def test_what_is_searched_for_is_named_after_a_file_that_can_be_found() -> None:
    transfers = [transfer("broken.pdf", "failed", "it is damaged"), transfer("sea_otters.md")]
    assert report.question_for(transfers, Path("samples")) == "sea otters"
    assert report.question_for(transfers[:1], Path("samples")) == ""
