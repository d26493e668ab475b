"""A catalogue of hostile files: how to write each, and how its extraction must end."""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import hostile_pdfs as pdfs
from tests import hostile_zips as zips

UNSUPPORTED = "not supported; upload PDF"
DAMAGED = "damaged"
TOO_DEEP = "nested|nests"


@dataclass(frozen=True)
class Hostile:
    """`name` is what the uploader calls it; it must end in an error matching `error`, or as text that holds `text`."""

    title: str
    name: str
    make: Callable[[Path], None]
    error: str | None = None
    text: str | None = None

    def write(self, folder: Path) -> Path:
        """Write the file into a folder of its own under `folder`."""
        place = folder / self.title.replace(" ", "-")
        place.mkdir(parents=True, exist_ok=True)
        self.make(place / self.name)
        return place / self.name


def of_bytes(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def ole(stream: str) -> Callable[[Path], None]:
    """The header of an old compound file whose directory names the stream."""
    directory = stream.encode("utf-16-le")
    return of_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504) + directory.ljust(128, b"\0") + bytes(2000))


def binary_noise(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(200_000))


def external_entity_page(path: Path) -> None:
    url = zips.secret_beside(path)
    path.write_text(
        f"{zips.ENTITY % url}<html><body><p>An honest page &xxe;</p><iframe src='{url}'></iframe></body></html>"
    )


JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 20
FRENCH = "Le café de la gare est fermé à Noël, dit le garçon.\n" * 20

PDFS = (
    Hostile("a PDF of ten thousand pages", "long.pdf", pdfs.ten_thousand_pages, "more than 5,000 pages"),
    Hostile("a PDF that hides its pages", "short.pdf", pdfs.ten_thousand_pages_claimed_as_one, "more than 5,000 pages"),
    Hostile("a PDF with one page listed often", "same.pdf", pdfs.one_page_listed_many_times, "pages|" + DAMAGED),
    Hostile("a PDF page tree that loops", "loop.pdf", pdfs.page_tree_loop, f"{DAMAGED}|no pages|no text"),
    Hostile("a PDF form that draws itself", "form.pdf", pdfs.form_loop, f"{DAMAGED}|no text"),
    Hostile("a PDF length that is its own", "length.pdf", pdfs.length_loop, f"{DAMAGED}|no text|{TOO_DEEP}"),
    Hostile("a PDF cross reference that loops", "xref.pdf", pdfs.cross_reference_loop, text="lighthouse"),
    Hostile("a PDF of deep arrays", "arrays.pdf", pdfs.deep_arrays, f"{TOO_DEEP}|{DAMAGED}"),
    Hostile("a PDF deflate bomb", "bomb.pdf", pdfs.deflate_bomb, "page 1 .* unpacks to too much"),
    Hostile("a truncated PDF", "cut.pdf", pdfs.truncated, f"{DAMAGED}|no pages"),
    Hostile("a PDF header alone", "header.pdf", pdfs.header_only, f"{DAMAGED}|no pages"),
    Hostile("a scanned PDF", "scan.pdf", pdfs.picture_only, "no text was found in the PDF; if it is scanned"),
    Hostile("an encrypted PDF", "secret.pdf", pdfs.encrypted, "PDF is encrypted with a password"),
    Hostile("a PDF encrypted for nobody", "open.pdf", pdfs.encrypted_for_nobody, text="lighthouse"),
    Hostile("a PDF and ZIP polyglot", "both.docx", pdfs.pdf_and_zip, text="lighthouse"),
)
ZIPS = (
    Hostile("a zip bomb", "bomb.docx", zips.zip_bomb, "unpacks to more than 200 times its size"),
    Hostile("a zip with forged sizes", "forged.docx", zips.forged_sizes, DAMAGED),
    Hostile("nested zips", "nested.zip", zips.nested_zips, "ZIP archives are not supported"),
    Hostile("overlapping zip entries", "overlap.docx", zips.overlapping_entries, f"200 times|{DAMAGED}"),
    Hostile("a zip of 100,000 entries", "many.docx", zips.hundred_thousand_entries, "more than 10,000 entries"),
    Hostile("a zip of a million entries", "more.docx", zips.million_entries, "more than 10,000 entries"),
    Hostile("a zip with a password", "locked.docx", zips.password_zip, "encrypted with a password"),
    Hostile("a plain zip", "photos.zip", zips.plain_zip, "ZIP archives are not supported"),
    Hostile("a truncated Word file", "cut.docx", zips.truncated_docx, DAMAGED),
    Hostile("an entity in Word", "xxe.docx", zips.docx_external_entity, "document type declaration"),
    Hostile("an entity in PowerPoint", "xxe.pptx", zips.pptx_external_entity, "document type declaration"),
    Hostile("an entity in Excel", "xxe.xlsx", zips.xlsx_external_entity, "document type declaration"),
    Hostile("a billion laughs in Excel", "laughs.xlsx", zips.xlsx_billion_laughs, "document type declaration"),
    Hostile("an entity in an e-book", "xxe.epub", zips.epub_external_entity, "declares XML entities"),
    Hostile("the largest sheet claimed", "large.xlsx", zips.xlsx_claims_the_largest_sheet, text="honest"),
    Hostile("a row far away", "far.xlsx", zips.xlsx_row_far_away, "more than 1,048,576 rows"),
    Hostile("sheets of empty rows", "gaps.xlsx", zips.xlsx_empty_rows, "more than 2,000,000 empty rows"),
    Hostile("wide rows", "wide.xlsx", zips.xlsx_wide_rows, "more than 5,000,000 cells"),
    Hostile(
        "a long string repeated", "repeat.xlsx", zips.xlsx_repeats_a_long_string, "more than 50,000,000 characters"
    ),
    Hostile("an entity behind white space", "late.docx", zips.docx_entity_behind_white_space, "type declaration"),
    Hostile("XML in EBCDIC", "ebcdic.docx", zips.docx_in_ebcdic, "XML can't be read"),
    Hostile("XML in EBCDIC named otherwise", "named.docx", zips.docx_in_ebcdic_named_otherwise, "can't be checked"),
    Hostile(
        "XML in Shift-JIS named otherwise", "sjis.docx", zips.docx_in_shift_jis_named_otherwise, "can't be checked"
    ),
    Hostile("deep tables in Word", "deep.docx", zips.docx_deep_tables, TOO_DEEP),
    Hostile("a giant attribute in Word", "giant.docx", zips.docx_giant_attribute, "too long to be read safely"),
    Hostile("a cell over a thousand million columns", "span.docx", zips.docx_wide_cells, text="honest cell"),
)
TEXTS = (
    Hostile("an empty file", "empty.pdf", of_bytes(b""), "the file is empty"),
    Hostile("white space alone", "blank.txt", of_bytes(b" \r\n\t\n" * 1000), "no text was found"),
    Hostile("an old Word file", "letter.docx", ole("WordDocument"), r"old Word files \(.doc\) are not supported"),
    Hostile("an old Excel file", "sums.xlsx", ole("Workbook"), r"old Excel files \(.xls\) are not supported"),
    Hostile("an encrypted Office file", "plan.docx", ole("EncryptedPackage"), "encrypted with a password"),
    Hostile("binary noise", "noise.txt", binary_noise, UNSUPPORTED),
    Hostile("a program named as a PDF", "invoice.pdf", of_bytes(b"MZ\x90\0" + bytes(4000)), UNSUPPORTED),
    Hostile(
        "a picture named as text", "notes.txt", of_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900)), "image/png are not supp"
    ),
    Hostile("a web page named as a PDF", "page.pdf", of_bytes(b"<html><p>An honest page</html>"), text="honest page"),
    Hostile("an entity in a web page", "xxe.html", external_entity_page, text="An honest page"),
    Hostile("a deep web page", "deep.html", of_bytes(b"<html>" + b"<div>" * 100_000 + b"bottom"), text="bottom"),
    Hostile(
        "a web page that never closes a tag", "open.html", of_bytes(b"<p>start <" + b"a" * 5_000_000), text="start"
    ),
    Hostile("deep Markdown quotes", "deep.md", of_bytes(b"# Top\n\n" + b">" * 50_000 + b" bottom"), text="Top"),
    Hostile("Markdown brackets", "brackets.md", of_bytes(b"# Top\n\n" + b"[" * 200_000), text="Top"),
    Hostile("empty comments in a row", "comments.txt", of_bytes(b"<!---->" * 60 + b"x"), text="x"),
    Hostile("comments that never end", "opened.txt", of_bytes(b"<!--" * 16_000), text="<!--"),
    Hostile("links that never end", "links.dat", of_bytes(b"# Top\n\n" + b"](" * 32_000), text="Top"),
    Hostile("deep JSON", "deep.json", of_bytes(b"[" * 10_000 + b"1" + b"]" * 10_000), TOO_DEEP),
    Hostile("JSON of 500 levels", "levels.json", of_bytes(b'{"a":' * 500 + b"1" + b"}" * 500), TOO_DEEP),
    Hostile("JSON with a huge number", "number.json", of_bytes(b'{"n": %b}' % (b"9" * 20_000)), text="n: 999999"),
    Hostile("JSON cut off", "cut.json", of_bytes(b'{"name": "hon'), "JSON is not valid at line 1"),
    Hostile("a table with zero bytes", "nul.csv", of_bytes(b"name,town\nA\0nna,U\0lm\n" * 200), text="Anna"),
    Hostile("a table with an open quote", "quote.csv", of_bytes(b'name,town\n"Anna,Ulm\n' * 5000), text="Anna"),
    Hostile("one line of five million letters", "line.txt", of_bytes(b"a" * 5_000_000), text="aaaa"),
    Hostile("UTF-16", "wide.txt", of_bytes(FRENCH.encode("utf-16")), text="fermé à Noël"),
    Hostile("UTF-16 without a mark", "bare.txt", of_bytes(FRENCH.encode("utf-16-le")), text="fermé à Noël"),
    Hostile("Latin-1", "french.txt", of_bytes(FRENCH.encode("latin-1")), text="fermé à Noël"),
    Hostile("Shift-JIS", "cat.txt", of_bytes(JAPANESE.encode("shift_jis")), text="吾輩は猫である"),
    Hostile(
        "mixed encodings", "mixed.txt", of_bytes("Köln\n".encode() + FRENCH.encode("latin-1")), text="Köln\nLe café"
    ),
    Hostile("half characters", "half.txt", of_bytes(b"An honest start \xed\xa0\x80\xf0\x9f" * 9), text="honest start"),
    Hostile("stacked accents", "zalgo.txt", of_bytes(("a" + "\u0301\u0323" * 200_000).encode()), text="\u0301"),
)
HOSTILE = (*PDFS, *ZIPS, *TEXTS)


def main(folder: Path) -> None:
    """Extract every file of the catalogue within 1 GiB and a minute each; print {title: [error, text]} as JSON."""
    from jobs.domains.documents._extract import Unreadable, extract

    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    endings: dict[str, tuple[str | None, str]] = {}
    for hostile in HOSTILE:
        signal.alarm(60)
        path = hostile.write(folder)
        try:
            text = "\n".join(section.text[:2000] for section in extract(path, name=hostile.name).sections)
            endings[hostile.title] = (None, text[:200_000])
        except Unreadable as error:
            endings[hostile.title] = (str(error), "")
        path.unlink()
    print(json.dumps(endings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
