"""Office files, e-books and archives that try to break their reader."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from docx import Document
from openpyxl import Workbook
from pptx import Presentation

Change = Callable[[bytes], bytes]
SECRET = "root-password-4711"
ENTITY = '<!DOCTYPE x [<!ENTITY xxe SYSTEM "%s">]>'
LAUGHTER = "".join(f"<!ENTITY a{number} '{f'&a{number - 1};' * 10}'>" for number in range(1, 10))
LAUGHS = f"<!DOCTYPE x [<!ENTITY a0 'lol'>{LAUGHTER}]>"
DOCX_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)


def docx(path: Path, text: str = "An honest paragraph", changes: dict[str, Change] | None = None) -> None:
    document = Document()
    document.add_paragraph(text)
    document.save(str(path))
    repack(path, changes or {})


def xlsx(path: Path, rows: Iterable[list[object]] = ((1, "two"),), changes: dict[str, Change] | None = None) -> None:
    workbook = Workbook()
    for row in rows:
        workbook.active.append(list(row))
    workbook.save(path)
    repack(path, changes or {})


def pptx(path: Path, changes: dict[str, Change] | None = None) -> None:
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "An honest slide"
    presentation.save(str(path))
    repack(path, changes or {})


def epub(path: Path, chapter: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        book.writestr("META-INF/container.xml", '<container><rootfile full-path="p.opf"/></container>')
        item = '<item id="c" href="c.xhtml" media-type="application/xhtml+xml"/>'
        book.writestr("p.opf", f'<package><manifest>{item}</manifest><spine><itemref idref="c"/></spine></package>')
        book.writestr("c.xhtml", chapter)


def repack(path: Path, changes: dict[str, Change]) -> None:
    """Rewrite or add parts of a ZIP in place."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts.update({name: change(parts.get(name, b"")) for name, change in changes.items()})
    _write(path, parts)


def declaring(declaration: str, entity: str) -> Change:
    """Put a DOCTYPE in front of the root element and use its entity in the first text."""

    def change(content: bytes) -> bytes:
        head, _, rest = content.partition(b"?>\n") if content.startswith(b"<?xml") else (b"", b"", content)
        if not rest:
            head, _, rest = content.partition(b"?>")
        rest = rest.replace(b"honest", f"&{entity};".encode())
        return (head + b"?>" if head else b"") + declaration.encode() + rest

    return change


def secret_beside(path: Path) -> str:
    """A file that an external entity would like to read; its URL."""
    secret = path.parent / "secret.txt"
    secret.write_text(SECRET)
    return secret.resolve().as_uri()


def docx_external_entity(path: Path) -> None:
    docx(path, changes={"word/document.xml": declaring(ENTITY % secret_beside(path), "xxe")})


def pptx_external_entity(path: Path) -> None:
    pptx(path, {"ppt/slides/slide1.xml": declaring(ENTITY % secret_beside(path), "xxe")})


def xlsx_external_entity(path: Path) -> None:
    xlsx(path, [["honest", "row"]], {"xl/worksheets/sheet1.xml": declaring(ENTITY % secret_beside(path), "xxe")})


def xlsx_billion_laughs(path: Path) -> None:
    xlsx(path, [["honest", "row"]], {"xl/worksheets/sheet1.xml": declaring(LAUGHS, "a9")})


def epub_external_entity(path: Path) -> None:
    epub(path, f"{ENTITY % secret_beside(path)}<html><body><p>&xxe;</p></body></html>")


def zip_bomb(path: Path) -> None:
    """A Word file whose body unpacks to 64 MB from 64 kB."""
    body = b"<w:document>" + b" " * 64_000_000
    _write(path, {"[Content_Types].xml": DOCX_TYPES.encode(), "word/document.xml": body})


def forged_sizes(path: Path) -> None:
    """The same, with a directory that says it has 100 bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", DOCX_TYPES)
        archive.writestr("word/document.xml", b"<w:document>" + b" " * 64_000_000)
        archive.infolist()[1].file_size = 100


def nested_zips(path: Path) -> None:
    """Archives in archives, nine deep, each holding ten of the next."""
    inner, layer = path.with_suffix(".inner"), b"lol" * 100_000
    for _ in range(9):
        _write(inner, {f"{number}.zip": layer for number in range(10)})
        layer = inner.read_bytes()
    path.write_bytes(layer)
    inner.unlink()


def overlapping_entries(path: Path) -> None:
    """A Word file with a thousand directory entries that share one compressed megabyte."""
    directory_of(path, 1000, b" " * 1_000_000)


def hundred_thousand_entries(path: Path) -> None:
    directory_of(path, 100_000, b"x")


def million_entries(path: Path) -> None:
    directory_of(path, 1_000_000, b"x")


def directory_of(path: Path, count: int, content: bytes) -> None:
    """A ZIP of two parts and `count` more directory entries for the second, written as no archiver would."""
    first, first_entry = _part(b"[Content_Types].xml", DOCX_TYPES.encode(), 0)
    second, second_entry = _part(b"word/document.xml", content, len(first))
    directory = first_entry + second_entry * count
    shown = min(count + 1, 65535)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, shown, shown, len(directory), len(first + second), 0)
    path.write_bytes(first + second + directory + end)


def _part(name: bytes, content: bytes, offset: int) -> tuple[bytes, bytes]:
    """The bytes of a compressed part and its directory entry."""
    packer = zlib.compressobj(9, wbits=-15)
    squeezed = packer.compress(content) + packer.flush()
    fields = (20, 0, 8, 0, 33, zlib.crc32(content), len(squeezed), len(content), len(name), 0)
    local = b"PK\x03\x04" + struct.pack("<5H3L2H", *fields) + name + squeezed
    return local, b"PK\x01\x02" + struct.pack("<6H3L5H2L", 20, *fields, 0, 0, 0, 0, offset) + name


def password_zip(path: Path) -> None:
    docx(path)
    content = bytearray(path.read_bytes())
    first = content.index(b"PK\x01\x02")
    content[first + 8] |= 1
    path.write_bytes(content)


def plain_zip(path: Path) -> None:
    _write(path, {"photo.jpg": b"\xff\xd8\xff", "../../etc/passwd": b"root:x:0:0"})


def truncated_docx(path: Path) -> None:
    docx(path)
    path.write_bytes(path.read_bytes()[:9_000])


def xlsx_claims_the_largest_sheet(path: Path) -> None:
    """One filled row in a sheet that claims 1,048,576 rows of 16,384 cells."""
    xlsx(
        path,
        [["honest", "row"]],
        {"xl/worksheets/sheet1.xml": lambda part: part.replace(b'"A1:B1"', b'"A1:XFD1048576"')},
    )


def xlsx_row_far_away(path: Path) -> None:
    far = b'<row r="99999999999"><c t="n"><v>1</v></c></row></sheetData>'
    xlsx(path, changes={"xl/worksheets/sheet1.xml": lambda part: part.replace(b"</sheetData>", far)})


def xlsx_wide_rows(path: Path) -> None:
    """Thousands of rows, each with one cell in the last column."""
    rows = b"".join(b'<row r="%d"><c r="XFD%d"><v>1</v></c></row>' % (row, row) for row in range(2, 3000))
    xlsx(path, changes={"xl/worksheets/sheet1.xml": lambda part: part.replace(b"</sheetData>", rows + b"</sheetData>")})


def xlsx_empty_rows(path: Path) -> None:
    """A small workbook of five sheets that hold one cell each, in the last row there is."""
    workbook = Workbook()
    sheets = [workbook.active, *(workbook.create_sheet() for _ in range(4))]
    for sheet in sheets:
        sheet.cell(1_048_576, 1, "x")
    workbook.save(path)


def xlsx_repeats_a_long_string(path: Path) -> None:
    """A shared string of a megabyte that a hundred cells refer to."""
    cells = b'<row r="2">' + b'<c t="s"><v>0</v></c>' * 100 + b"</row></sheetData>"
    kind = b'"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"'
    declared = b'<Override PartName="/xl/sharedStrings.xml" ContentType=' + kind + b"/></Types>"
    strings = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>%b</t></si></sst>'
    changes: dict[str, Change] = {
        "xl/worksheets/sheet1.xml": lambda part: part.replace(b"</sheetData>", cells),
        "[Content_Types].xml": lambda part: part.replace(b"</Types>", declared),
        "xl/sharedStrings.xml": lambda _nothing: strings % (b"word " * 200_000),
    }
    xlsx(path, changes=changes)


def docx_entity_behind_white_space(path: Path) -> None:
    """More white space than is read at once, and nothing before it that says that it is XML."""

    def change(part: bytes) -> bytes:
        return b" " * 400_000 + declaring(LAUGHS, "a9")(part).partition(b"?>")[2]

    docx(path, changes={"word/document.xml": change})


def docx_in_ebcdic(path: Path) -> None:
    docx(path, changes={"word/document.xml": lambda part: _declared(part, "cp037")})


def docx_in_ebcdic_named_otherwise(path: Path) -> None:
    _docx_named_otherwise(path, "cp037")


def docx_in_shift_jis_named_otherwise(path: Path) -> None:
    _docx_named_otherwise(path, "shift_jis")


def _docx_named_otherwise(path: Path, encoding: str) -> None:
    """A Word file whose body is a part that is not called .xml."""
    docx(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["word/document.dat"] = _declared(parts.pop("word/document.xml"), encoding)
    for name in ("[Content_Types].xml", "_rels/.rels"):
        parts[name] = parts[name].replace(b"word/document.xml", b"word/document.dat")
    _write(path, parts)


def _declared(part: bytes, encoding: str) -> bytes:
    root = part.decode().partition("?>")[2]
    return f'<?xml version="1.0" encoding="{encoding}"?>{root}'.encode(encoding)


def docx_deep_tables(path: Path) -> None:
    nest = b"<w:tbl><w:tr><w:tc>" * 5_000 + b"</w:tc></w:tr></w:tbl>" * 5_000
    docx(path, changes={"word/document.xml": lambda part: part.replace(b"<w:body>", b"<w:body>" + nest)})


def docx_giant_attribute(path: Path) -> None:
    giant = b'<w:body w:x="' + bytes(range(97, 123)) * 600_000 + b'">'
    docx(path, changes={"word/document.xml": lambda part: part.replace(b"<w:body>", giant)})


def docx_wide_cells(path: Path) -> None:
    """A table cell that claims to span a thousand million columns."""
    cell = b'<w:tc><w:tcPr><w:gridSpan w:val="1000000000"/></w:tcPr><w:p><w:r><w:t>honest cell</w:t></w:r></w:p></w:tc>'
    table = b"<w:body><w:tbl><w:tblPr/><w:tblGrid/><w:tr>" + cell + b"</w:tr></w:tbl>"
    docx(path, changes={"word/document.xml": lambda part: part.replace(b"<w:body>", table)})


def _write(path: Path, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
