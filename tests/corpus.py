"""Small real documents of every format, each with a word of its own that no other document holds."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from docx import Document
from fpdf import FPDF
from openpyxl import Workbook
from pptx import Presentation

SYLLABLES = re.findall(r"\w+", "ba ce di fo gu ka le mi no pu ra se ti vo zu ja ke li mo nu")
NOUNS = re.findall(r"\w+", "harbour ledger orchard turbine archive glacier market kiln quarry signal loom bridge")
VERBS = re.findall(r"\w+", "measures carries repairs follows crosses replaces records feeds cools lights weighs")
HOW = re.findall(r"\w[\w ]*", "slowly; at dawn; every week; without noise; in winter; by hand; after rain; on rails")


@dataclass(frozen=True)
class File:
    """A file to upload; `word` stands in it and in no other."""

    name: str
    content: bytes
    word: str


def word_of(number: int) -> str:
    """A word that is in no dictionary, another for each number below 8,000."""
    return "zul" + "".join(SYLLABLES[number // 20**place % 20] for place in (2, 1, 0)) + "k"


def make(number: int, paragraphs: int = 6) -> File:
    """The document with that number; ten in a row have ten formats. The same numbers give the same text."""
    kind = list(WRITERS)[number % len(WRITERS)]
    word, chance = word_of(number), random.Random(number)
    texts = [prose(chance) for _ in range(paragraphs)]
    texts[chance.randrange(paragraphs)] += f" They call it {word}."
    return File(f"document-{number:04d}.{kind}", WRITERS[kind](f"Report {number}", texts), word)


def prose(chance: random.Random, sentences: int = 7) -> str:
    """A paragraph of about 350 letters."""
    parts = (
        f"The {chance.choice(NOUNS)} of number {chance.randrange(1000)} {chance.choice(VERBS)} "
        f"the {chance.choice(NOUNS)} {chance.choice(HOW)}."
        for _ in range(sentences)
    )
    return " ".join(parts)


def markdown(title: str, texts: list[str]) -> bytes:
    return "\n\n".join([f"# {title}", *(f"## Part {n}\n\n{text}" for n, text in enumerate(texts, 1))]).encode()


def plain(title: str, texts: list[str]) -> bytes:
    return "\n\n".join([title, *texts]).encode()


def html(title: str, texts: list[str]) -> bytes:
    body = "".join(f"<p>{escape(text)}</p>" for text in texts)
    return (
        f"<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>".encode()
    )


def table(title: str, texts: list[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["number", "title", "text"], *([n, title, text] for n, text in enumerate(texts))])
    return out.getvalue().encode()


def records(title: str, texts: list[str]) -> bytes:
    return json.dumps({"title": title, "parts": [{"number": n, "text": text} for n, text in enumerate(texts)]}).encode()


def pdf(title: str, texts: list[str]) -> bytes:
    page = FPDF()
    page.set_font("Helvetica", size=11)
    for number, text in enumerate(texts):
        if number % 3 == 0:
            page.add_page()
        page.multi_cell(0, 6, f"{title}: {text}", new_x="LMARGIN", new_y="NEXT")
        page.ln(4)
    return bytes(page.output())


def docx(title: str, texts: list[str]) -> bytes:
    document = Document()
    document.add_heading(title, level=1)
    for text in texts:
        document.add_paragraph(text)
    return _saved(document.save)


def pptx(title: str, texts: list[str]) -> bytes:
    presentation = Presentation()
    for number, text in enumerate(texts, 1):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"{title}, part {number}"
        slide.placeholders[1].text_frame.text = text
    return _saved(presentation.save)


def xlsx(title: str, texts: list[str]) -> bytes:
    workbook = Workbook()
    workbook.active.title = title
    for number, text in enumerate(texts, 1):
        workbook.active.append([number, text])
    return _saved(workbook.save)


def epub(title: str, texts: list[str]) -> bytes:
    pages = "".join(f"<p>{escape(text)}</p>" for text in texts)
    item = '<item id="c" href="c.xhtml" media-type="application/xhtml+xml"/>'
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="p.opf"/></rootfiles></container>',
        "p.opf": f'<package><manifest>{item}</manifest><spine><itemref idref="c"/></spine></package>',
        "c.xhtml": f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{pages}</body></html>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        for name, text in parts.items():
            book.writestr(name, text, zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    save(out)
    return out.getvalue()


WRITERS: dict[str, Callable[[str, list[str]], bytes]] = {
    "pdf": pdf,
    "docx": docx,
    "html": html,
    "md": markdown,
    "txt": plain,
    "csv": table,
    "pptx": pptx,
    "xlsx": xlsx,
    "json": records,
    "epub": epub,
}
