"""Copies of the sample documents, each with a sentence that holds a word of its own, written as its format does."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

from docx import Document
from openpyxl import load_workbook
from pptx import Presentation
from pypdf import PdfWriter

from tests import corpus
from tests.conftest import ROOT
from tests.corpus import File

SAMPLES = sorted((ROOT / "docs" / "samples").iterdir())


def make(number: int) -> File:
    """A copy of one of the samples; ten in a row are of ten samples."""
    sample, word = SAMPLES[number % len(SAMPLES)], corpus.word_of(number)
    content = ADD[sample.suffix](sample.read_bytes(), f"This copy is called {word}.")
    return File(f"{sample.stem}-{number}{sample.suffix}", content, word)


def _after_the_end(content: bytes, sentence: str) -> bytes:
    return content + f"\n\n{sentence}\n".encode()


def _csv(content: bytes, sentence: str) -> bytes:
    return content + f"XX-1,{sentence},Copies,1.00,1,none\n".encode()


def _json(content: bytes, sentence: str) -> bytes:
    return json.dumps({**json.loads(content), "copy": sentence}).encode()


def _html(content: bytes, sentence: str) -> bytes:
    return content.replace(b"<main>", f"<main><p>{sentence}</p>".encode(), 1)


def _pdf(content: bytes, sentence: str) -> bytes:
    writer, out = PdfWriter(), io.BytesIO()
    for each in (content, corpus.pdf("Copy", [sentence])):
        writer.append(io.BytesIO(each))
    writer.write(out)
    return out.getvalue()


def _docx(content: bytes, sentence: str) -> bytes:
    document, out = Document(io.BytesIO(content)), io.BytesIO()
    document.add_paragraph(sentence)
    document.save(out)
    return out.getvalue()


def _pptx(content: bytes, sentence: str) -> bytes:
    presentation, out = Presentation(io.BytesIO(content)), io.BytesIO()
    presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = sentence
    presentation.save(out)
    return out.getvalue()


def _xlsx(content: bytes, sentence: str) -> bytes:
    workbook, out = load_workbook(io.BytesIO(content)), io.BytesIO()
    workbook.active.append([sentence])
    workbook.save(out)
    return out.getvalue()


def _epub(content: bytes, sentence: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            text = old.read(entry)
            if entry.filename.endswith("c1.xhtml"):
                text = text.replace(b"</body>", f"<p>{sentence}</p></body>".encode())
            new.writestr(entry, text)
    return out.getvalue()


ADD: dict[str, Callable[[bytes, str], bytes]] = {
    ".md": _after_the_end,
    ".txt": _after_the_end,
    ".csv": _csv,
    ".json": _json,
    ".html": _html,
    ".pdf": _pdf,
    ".docx": _docx,
    ".pptx": _pptx,
    ".xlsx": _xlsx,
    ".epub": _epub,
}
