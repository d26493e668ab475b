"""Hostile files end in one clear sentence or in their text, within memory and time, and reach nothing outside them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jobs.domains.documents._extract import Limits, Unreadable, extract
from tests import hostile_pdfs, hostile_zips
from tests.hostile import HOSTILE, TEXTS, Hostile

ROOT = Path(__file__).resolve().parents[3]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@pytest.fixture(scope="session")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | None, str]]:
    """How each file of the catalogue ended in one child process of at most 1 GiB that treats warnings as errors."""
    command = [sys.executable, "-W", "error", "-m", "tests.hostile", str(tmp_path_factory.mktemp("hostile"))]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert child.returncode == 0, child.stderr[-2000:]
    return json.loads(child.stdout)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.title)
def test_a_hostile_file_ends_as_declared(hostile: Hostile, endings: dict[str, tuple[str | None, str]]) -> None:
    error, text = endings[hostile.title]
    if hostile.error is not None:
        assert error is not None, f"was read as {text[:200]!r}"
        assert re.search(hostile.error, error), error
    else:
        assert error is None
        assert hostile.text in text


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.title)
def test_what_the_user_sees_is_one_clean_sentence(hostile: Hostile, endings: dict[str, tuple[str | None, str]]) -> None:
    error, text = endings[hostile.title]
    assert not CONTROLS.search(text)
    assert hostile_zips.SECRET not in text
    if error is not None:
        assert len(error) < 200
        assert "\n" not in error
        assert not re.search(r"Error|Exception|Traceback|0x|/tmp|hostile-", error)


def test_nothing_is_fetched_from_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for path in calling_home(tmp_path, url):
            try:
                list(extract(path, name=path.name).sections)
            except Unreadable:
                continue
        with pytest.raises(BlockingIOError):
            listener.accept()


def calling_home(folder: Path, url: str) -> list[Path]:
    """Files of each kind that name the URL as an entity, picture, template, link or style."""
    page, word, book = folder / "a.html", folder / "b.docx", folder / "c.epub"
    markup = f"<html><head><link rel=stylesheet href='{url}'></head><img src='{url}'><iframe src='{url}'></iframe>text"
    page.write_text(f'<!DOCTYPE html SYSTEM "{url}x.dtd">{markup}')
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate"
    template = f'<Relationship Id="rId99" Type="{kind}" Target="{url}" TargetMode="External"/></Relationships>'
    changes = {"word/_rels/document.xml.rels": lambda part: part.replace(b"</Relationships>", template.encode())}
    hostile_zips.docx(word, changes=changes)
    hostile_zips.epub(book, f'<!DOCTYPE html PUBLIC "-//X" "{url}x.dtd"><html><p>text<img src="{url}"/></p></html>')
    return [page, word, book]


def test_a_template_on_the_network_does_not_keep_a_word_file_from_being_read(tmp_path: Path) -> None:
    word = calling_home(tmp_path, "http://127.0.0.1:9/")[1]
    assert "honest" in "".join(section.text for section in extract(word, name="b.docx").sections)


def test_real_sizes_count_and_not_those_of_the_header(tmp_path: Path) -> None:
    hostile_zips.docx(tmp_path / "a.docx", changes={"word/media/a.bin": lambda _nothing: bytes(3_000_000)})
    with pytest.raises(Unreadable, match="unpacks to more than 2 MB"):
        extract(tmp_path / "a.docx", name="a.docx", limits=Limits(max_unpacked_bytes=2_000_000))


def test_pages_up_to_the_limit_are_read(tmp_path: Path) -> None:
    hostile_pdfs.pages(tmp_path / "a.pdf", 20)
    extracted = extract(tmp_path / "a.pdf", name="a.pdf", limits=Limits(max_pages=20))
    assert extracted.pages == 20
    assert [section.page for section in extracted.sections] == list(range(1, 21))


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (Limits(max_text_chars=1000), "more than 1,000 characters"),
        (Limits(max_duration=Limits().max_duration * 0), "took longer than 0 minutes"),
    ],
)
def test_text_and_time_are_limited_while_reading(tmp_path: Path, limits: Limits, error: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("word " * 1000)
    with pytest.raises(Unreadable, match=error):
        list(extract(path, name="a.txt", limits=limits).sections)


def test_time_is_looked_at_while_rows_without_text_are_read(tmp_path: Path) -> None:
    hostile_zips.xlsx_empty_rows(tmp_path / "a.xlsx")
    (tmp_path / "a.csv").write_text("name,town\n" + "\n" * 20_000)
    for name in ("a.xlsx", "a.csv"):
        with pytest.raises(Unreadable, match="took longer than 0 minutes"):
            next(extract(tmp_path / name, name=name, limits=Limits(max_duration=Limits().max_duration * 0)).sections)


def test_an_error_of_the_progress_callback_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")

    def interrupt(_stage: str, _percent: float) -> None:
        raise InterruptedError("the job was cancelled")

    with pytest.raises(InterruptedError, match="cancelled"):
        list(extract(path, name="a.txt", progress=interrupt).sections)


def test_a_failing_disk_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        extract(tmp_path / "gone.pdf", name="gone.pdf")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are seen in /proc")
def test_a_file_is_closed_when_its_reading_is_given_up(tmp_path: Path) -> None:
    for name, make in (("a.pdf", lambda path: hostile_pdfs.pages(path, 3)), ("a.xlsx", hostile_zips.xlsx)):
        make(tmp_path / name)
        sections = extract(tmp_path / name, name=name).sections
        next(sections)
        del sections
    opened = [Path(f"/proc/self/fd/{entry.name}") for entry in Path("/proc/self/fd").iterdir()]
    assert not [link for link in opened if link.is_symlink() and str(link.resolve()).startswith(str(tmp_path))]


def test_an_extension_never_decides_what_a_file_is(tmp_path: Path) -> None:
    hostile_zips.xlsx(tmp_path / "sheet.pdf", [["honest", "row"]])
    assert zipfile.is_zipfile(tmp_path / "sheet.pdf")
    assert extract(tmp_path / "sheet.pdf", name="sheet.pdf").media_type.endswith("spreadsheetml.sheet")


def test_the_catalogue_has_no_two_files_of_one_title() -> None:
    assert len({hostile.title for hostile in HOSTILE}) == len(HOSTILE) > len(TEXTS)
