"""The files that a command line names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.launcher.arguments import Missing, expand, parse

NO_FILE = "there is no such file"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("a.md", "b.pdf", "folder/c.txt", "folder/deep/d.csv", "folder/.hidden", "folder/.git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_folder_stands_for_all_its_files_but_the_hidden_ones(here: Path) -> None:
    assert expand(["folder"], here) == ([here / "folder/c.txt", here / "folder/deep/d.csv"], [])


def test_a_pattern_that_the_shell_left_alone_is_expanded(here: Path) -> None:
    assert expand(["*.md", "**/*.csv"], here) == ([here / "a.md", here / "folder/deep/d.csv"], [])


def test_a_file_named_twice_is_taken_once(here: Path) -> None:
    assert expand(["a.md", "*.md", str(here / "a.md")], here) == ([here / "a.md"], [])


def test_a_name_with_pattern_characters_is_a_file_when_there_is_one(here: Path) -> None:
    (here / "notes [1].md").write_text("x")
    assert expand(["notes [1].md"], here) == ([here / "notes [1].md"], [])


def test_names_that_stand_for_nothing_are_reported(here: Path) -> None:
    assert expand(["a.md", "nothing.md", "*.zip"], here) == (
        [here / "a.md"],
        [Missing("nothing.md", NO_FILE), Missing("*.zip", NO_FILE)],
    )


def test_a_name_that_exists_but_holds_no_file_says_so(here: Path) -> None:
    (here / "empty").mkdir()
    os.mkfifo(here / "pipe")
    missing = [Missing("empty", "the folder holds no files"), Missing("pipe", "it is no regular file")]
    assert expand(["empty", "pipe"], here) == ([], missing)


def test_a_folder_of_hidden_files_alone_says_so(here: Path) -> None:
    (here / "folder/.git/more").mkdir()
    assert expand(["folder/.git"], here)[0] == [here / "folder/.git/config"]
    (here / "dots").mkdir()
    (here / "dots/.env").write_text("x")
    assert expand(["dots"], here) == ([], [Missing("dots", "the folder holds no files but hidden ones")])


def test_relative_names_are_meant_from_where_the_person_stands(here: Path) -> None:
    options = parse(["--once", "--ask", "why?", "c.txt"], here=here / "folder", root=here)
    assert (options.files, options.question, options.once) == ((here / "folder/c.txt",), "why?", True)
    assert options.data == here / "var"
