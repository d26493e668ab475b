"""Make the sample documents that are not plain text: `python docs/sample-sources/make.py` writes into docs/samples."""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime
from html import escape
from pathlib import Path

from docx import Document
from fpdf import FPDF
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "samples"
WHEN = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
Block = tuple[str, str | list[list[str]]]


def main() -> None:
    SAMPLES.mkdir(exist_ok=True)
    pdf(blocks("energy-report.md"), SAMPLES / "energy-report.pdf")
    docx(blocks("handbook.md"), SAMPLES / "company-handbook.docx")
    pptx(blocks("kickoff.md"), SAMPLES / "warehouse-move.pptx")
    epub(blocks("almanac.md"), SAMPLES / "garden-almanac.epub")
    xlsx(SAMPLES / "bicycle-counts.xlsx")


def blocks(name: str) -> list[Block]:
    """The source as ("h1" | "h2" | "item" | "note" | "text", words) and ("table", rows)."""
    found: list[Block] = []
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not found or found[-1][0] != "table":
                found.append(("table", []))
            if not line.startswith("|-"):
                found[-1][1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif line:
            kinds = {"# ": "h1", "## ": "h2", "- ": "item", "Note: ": "note"}
            mark = next((mark for mark in kinds if line.startswith(mark)), "")
            found.append((kinds.get(mark, "text"), line.removeprefix(mark)))
    return found


def pdf(source: list[Block], path: Path) -> None:
    """A4, a page break before each chapter, page numbers at the foot."""
    page = _NumberedPages()
    page.set_creation_date(WHEN)
    page.set_title("Energy and climate report 2025")
    page.set_margin(25)
    page.add_page()
    for kind, content in source:
        if kind == "table":
            page.set_font("Helvetica", size=10)
            with page.table(line_height=7) as table:
                for row in content:
                    table.row(row)
            page.ln(6)
            continue
        if kind == "h2" and page.get_y() > 120:
            page.add_page()
        page.set_font("Helvetica", style="B" if kind in ("h1", "h2") else "", size={"h1": 22, "h2": 15}.get(kind, 11))
        page.multi_cell(0, {"h1": 11, "h2": 8}.get(kind, 6), content, new_x="LMARGIN", new_y="NEXT")
        page.ln(4)
    page.output(str(path))


class _NumberedPages(FPDF):
    def footer(self) -> None:
        self.set_y(-18)
        self.set_font("Helvetica", size=9)
        self.cell(0, 8, f"Larkfield Instruments, energy and climate report 2025, page {self.page_no()}", align="C")


def docx(source: list[Block], path: Path) -> None:
    """Real heading styles, lists and a table."""
    document = Document()
    document.core_properties.created = document.core_properties.modified = WHEN.replace(tzinfo=None)
    for kind, content in source:
        if kind in ("h1", "h2"):
            document.add_heading(content, level=0 if kind == "h1" else 1)
        elif kind == "table":
            table = document.add_table(rows=0, cols=len(content[0]), style="Light Grid Accent 1")
            for row in content:
                for cell, text in zip(table.add_row().cells, row, strict=True):
                    cell.text = text
        else:
            document.add_paragraph(content, style="List Bullet" if kind == "item" else None)
    document.save(str(path))


def pptx(source: list[Block], path: Path) -> None:
    """One slide for each first-level heading, with a bullet list or a table and the speaker's notes."""
    presentation = Presentation()
    slide = body = None
    for kind, content in source:
        if kind == "h1":
            slide = presentation.slides.add_slide(presentation.slide_layouts[1])
            slide.shapes.title.text = content
            body = slide.placeholders[1].text_frame
        elif kind == "table":
            slide.placeholders[1].element.getparent().remove(slide.placeholders[1].element)
            _slide_table(slide, content)
        elif kind == "note":
            slide.notes_slide.notes_text_frame.text = content
        else:
            (body.paragraphs[0] if not body.text else body.add_paragraph()).text = content
    presentation.save(str(path))


def _slide_table(slide: object, rows: list[list[str]]) -> None:
    frame = slide.shapes.add_table(len(rows), len(rows[0]), Inches(0.5), Inches(1.6), Inches(9), Inches(4))
    for row, texts in zip(frame.table.rows, rows, strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text


def epub(source: list[Block], path: Path) -> None:
    """EPUB 3 with a chapter for each first-level heading."""
    chapters: list[tuple[str, list[str]]] = []
    for kind, content in source:
        if kind == "h1":
            chapters.append((content, []))
        else:
            chapters[-1][1].append(content)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(_entry("mimetype"), "application/epub+zip", zipfile.ZIP_STORED)
        book.writestr(_entry("META-INF/container.xml"), CONTAINER)
        book.writestr(_entry("OEBPS/package.opf"), _package_of(len(chapters)))
        links = "".join(f'<li><a href="c{n}.xhtml">{escape(t)}</a></li>' for n, (t, _) in enumerate(chapters, 1))
        book.writestr(_entry("OEBPS/nav.xhtml"), _xhtml("Contents", f'<nav epub:type="toc"><ol>{links}</ol></nav>'))
        for number, (title, paragraphs) in enumerate(chapters, start=1):
            text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
            book.writestr(_entry(f"OEBPS/c{number}.xhtml"), _xhtml(title, f"<h1>{escape(title)}</h1>{text}"))


CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/package.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, WHEN.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _package_of(chapters: int) -> str:
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(1, chapters + 1)
    )
    refs = "".join(f'<itemref idref="c{n}"/>' for n in range(1, chapters + 1))
    return (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        '<dc:identifier id="id">urn:rq-fleet:almanac</dc:identifier>'
        "<dc:title>A kitchen garden almanac</dc:title><dc:language>en</dc:language>"
        '<meta property="dcterms:modified">2026-01-15T09:00:00Z</meta></metadata><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f"{items}</manifest><spine>{refs}</spine></package>"
    )


def _xhtml(title: str, body: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>{escape(title)}</title></head><body>{body}</body></html>'
    )


def xlsx(path: Path) -> None:
    """Bicycles counted at five bridges, and what is known about each bridge."""
    workbook = Workbook()
    counts = workbook.active
    counts.title = "Counts"
    counts.append(["Day", "Bridge", "Bicycles", "Rain (mm)", "Remark"])
    for number, (bridge, usual) in enumerate(BRIDGES):
        for day in range(1, 15):
            rain = (day * 7 + 3) % 11 if day % 3 == 0 else 0
            weekend = date(2025, 9, day).weekday() >= 5
            count = int(usual * (0.6 if weekend else 1) * (1 - rain * 0.04)) + (day * 37 + number * 11) % 50
            counts.append([date(2025, 9, day), bridge, count, rain, REMARKS.get((bridge, day), "")])
    about = workbook.create_sheet("Bridges")
    about.append(["Bridge", "Built", "Width of the cycle lane (m)", "Note"])
    for row in ABOUT:
        about.append(row)
    workbook.save(path)


BRIDGES = [
    ("Mill Bridge", 5200),
    ("Station Bridge", 8900),
    ("Old Harbour", 3100),
    ("Queen's Walk", 4400),
    ("Weir", 900),
]
REMARKS = {
    ("Station Bridge", 5): "strike on the tram lines, counts far above normal",
    ("Mill Bridge", 9): "sensor blocked by leaves from 14:00",
    ("Weir", 12): "path flooded, closed to everybody",
    ("Old Harbour", 14): "triathlon, road closed to cars",
}
ABOUT = [
    ["Mill Bridge", 1911, 2.5, "cobbled approach on the east bank is slippery when wet"],
    ["Station Bridge", 1998, 4.0, "two-way lane, separated from pedestrians by a kerb"],
    ["Old Harbour", 1932, 1.8, "bascule bridge: it opens for ships about six times a day"],
    ["Queen's Walk", 1964, 3.0, "to be rebuilt in 2027; a ferry will replace it for nine months"],
    ["Weir", 1888, 1.2, "cyclists must dismount; flooded whenever the river gauge passes 4.10 m"],
]

if __name__ == "__main__":
    main()
