"""The sample documents: each kind is recognised by content and read with its pages, headings and cells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.domains.documents._extract import Section, extract, recognise

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "docs/samples"
OFFICE = "application/vnd.openxmlformats-officedocument."
KINDS = {
    "energy-report.pdf": "application/pdf",
    "company-handbook.docx": OFFICE + "wordprocessingml.document",
    "warehouse-move.pptx": OFFICE + "presentationml.presentation",
    "bicycle-counts.xlsx": OFFICE + "spreadsheetml.sheet",
    "garden-almanac.epub": "application/epub+zip",
    "recipes.html": "text/html",
    "astronomy-notes.md": "text/markdown",
    "choir-minutes.txt": "text/plain",
    "product-catalogue.csv": "text/csv",
    "weather-stations.json": "application/json",
}


def sections_of(name: str) -> list[Section]:
    return list(extract(SAMPLES / name, name=name).sections)


def under(name: str, title: str) -> str:
    return "\n".join(section.text for section in sections_of(name) if section.title == title)


def test_every_sample_is_of_a_kind_that_is_tested_here() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(KINDS)


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_sample_is_recognised_without_its_extension(name: str, kind: str) -> None:
    assert recognise(SAMPLES / name, "upload") == kind


@pytest.mark.parametrize("name", KINDS)
def test_progress_rises_to_a_hundred_percent(name: str) -> None:
    told: list[tuple[str, float]] = []
    extracted = extract(SAMPLES / name, name=name, progress=lambda stage, percent: told.append((stage, percent)))
    assert all(section.text for section in extracted.sections)
    assert told == sorted(set(told))
    assert told[-1] == ("extracting", 100.0)


def test_a_pdf_is_read_page_by_page() -> None:
    sections = sections_of("energy-report.pdf")
    assert [section.page for section in sections] == [1, 2, 3, 4]
    assert "143 leaks" in sections[2].text


def test_headings_of_a_word_file_name_its_sections() -> None:
    assert "parental leave" in under("company-handbook.docx", "Holidays and leave").lower()


def test_tables_of_a_word_file_keep_their_rows() -> None:
    assert "Taxi | 40 euros a ride | yes" in under("company-handbook.docx", "Travel and expenses")


def test_slides_have_numbers_titles_tables_and_notes() -> None:
    timetable = next(section for section in sections_of("warehouse-move.pptx") if section.title == "Timetable")
    assert timetable.page == 3
    assert "Racks and floor marking | 2 June | 27 June" in timetable.text
    assert "critical path" in timetable.text


def test_rows_of_a_workbook_name_their_columns() -> None:
    assert "Day: 2025-09-12 | Bridge: Weir" in under("bicycle-counts.xlsx", "Counts")
    assert "Built: 1911 | Width of the cycle lane (m): 2.5" in under("bicycle-counts.xlsx", "Bridges")


def test_chapters_of_a_book_come_in_reading_order() -> None:
    titles = [section.title for section in sections_of("garden-almanac.epub")]
    assert titles == ["Before you begin", "Winter", "Spring", "Summer", "Autumn"]


def test_a_web_page_gives_what_is_seen_and_nothing_else() -> None:
    text = "\n".join(section.text for section in sections_of("recipes.html"))
    assert "- Heat a cast-iron pot in the oven to 250 degrees." in text
    assert "| buttermilk | milk with a spoon of lemon juice" in text
    assert "250 g of red lentils" in text
    assert "className" not in text
    assert "font-family" not in text


def test_markdown_loses_its_marks_and_keeps_tables_lists_and_code() -> None:
    text = "\n".join(section.text for section in sections_of("astronomy-notes.md"))
    assert "reflector of 200 mm shows" in text
    assert "- Beginners: binoculars 10x50" in text
    assert "Jupiter | most of the year | two dark belts" in text
    assert "25 mm eyepiece resolved to the core" in text
    assert "**" not in text


def test_rows_of_a_table_name_their_columns_and_quotes_are_understood() -> None:
    text = "\n".join(section.text for section in sections_of("product-catalogue.csv"))
    assert "Name: Kestrel bench scale | Category: Scales | Price (EUR): 389.00" in text
    assert "Description: Weighs up to 6 kg in steps of 0.1 g; battery lasts 60 hours" in text


def test_json_values_stand_beside_their_keys() -> None:
    assert "stations.sensors: temperature, wind, snow depth" in under("weather-stations.json", "stations")
    assert "network.founded: 1987" in under("weather-stations.json", "network")


def test_the_samples_are_what_their_script_makes(tmp_path: Path) -> None:
    pytest.importorskip("fpdf")
    folder = tmp_path / "sample-sources"
    folder.mkdir()
    for source in (ROOT / "docs/sample-sources").iterdir():
        if source.is_file():
            (folder / source.name).write_bytes(source.read_bytes())
    subprocess.run([sys.executable, str(folder / "make.py")], check=True, capture_output=True)
    for made in (tmp_path / "samples").iterdir():
        again = [section.text for section in extract(made, name=made.name).sections]
        assert again == [section.text for section in sections_of(made.name)]
