"""PDF files that try to break their reader, written byte by byte."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from pypdf import PdfReader, PdfWriter

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def pdf(path: Path, objects: Iterable[bytes], root: int = 1) -> None:
    """A PDF of the given objects, numbered from 1, with a correct cross-reference table."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(offsets) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table)
    start = out.rindex(b"xref\n")
    out += b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, root, start)
    path.write_bytes(out)


def stream(content: bytes, extra: bytes = b"") -> bytes:
    return b"<</Length %d%b>>\nstream\n%b\nendstream" % (len(content), extra, content)


def said(text: str) -> bytes:
    """A content stream that shows the text."""
    return stream(b"BT /F1 12 Tf 72 700 Td (%b) Tj ET" % text.encode("latin-1"))


def pages(path: Path, count: int, claimed: int | None = None, contents: bytes | None = None) -> None:
    """`count` pages that share one content stream; the page tree may claim another number."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 3 0 R/Resources<</Font<</F1 4 0 R>>>>>>"
    kids = b" ".join(b"%d 0 R" % number for number in range(5, 5 + count))
    tree = b"<</Type/Pages/Count %d/Kids[%b]>>" % (claimed or count, kids)
    head = [b"<</Type/Catalog/Pages 2 0 R>>", tree, contents or said("The quarterly report of the lighthouse"), FONT]
    pdf(path, [*head, *([page] * count)])


def ten_thousand_pages(path: Path) -> None:
    pages(path, 10_000)


def ten_thousand_pages_claimed_as_one(path: Path) -> None:
    pages(path, 10_000, claimed=1)


def one_page_listed_many_times(path: Path) -> None:
    tree = b"<</Type/Pages/Count 1/Kids[%b]>>" % (b"3 0 R " * 50_000)
    pdf(path, [b"<</Type/Catalog/Pages 2 0 R>>", tree, b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"])


def page_tree_loop(path: Path) -> None:
    tree = b"<</Type/Pages/Count 2/Kids[2 0 R 2 0 R]/Parent 2 0 R>>"
    pdf(path, [b"<</Type/Catalog/Pages 2 0 R>>", tree])


def form_loop(path: Path) -> None:
    """A page draws a form that draws itself."""
    form = stream(b"/X Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 3 0 R>>>>")
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 5 0 R/Resources<</XObject<</X 3 0 R>>>>>>"
    tree = b"<</Type/Pages/Count 1/Kids[4 0 R]>>"
    pdf(path, [b"<</Type/Catalog/Pages 2 0 R>>", tree, form, page, stream(b"/X Do")])


def length_loop(path: Path) -> None:
    """A content stream whose length is its own content stream."""
    loop = b"<</Length 3 0 R>>\nstream\nBT ET\nendstream"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 3 0 R>>"
    pdf(path, [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[4 0 R]>>", loop, page])


def cross_reference_loop(path: Path) -> None:
    pages(path, 1)
    content = path.read_bytes()
    start = content.rindex(b"startxref\n") + 10
    offset = content[start : content.index(b"\n", start)]
    path.write_bytes(content.replace(b"/Root 1 0 R>>", b"/Root 1 0 R/Prev %b>>" % offset))


def deep_arrays(path: Path) -> None:
    pages(path, 1, contents=stream(b"[" * 100_000 + b"]" * 100_000 + b" TJ"))


def deflate_bomb(path: Path) -> None:
    """A content stream of 200 MB in 200 kB."""
    packer = zlib.compressobj(9)
    squeezed = b"".join(packer.compress(b" " * 1_000_000) for _ in range(200)) + packer.flush()
    pages(path, 1, contents=stream(squeezed, b"/Filter/FlateDecode"))


def truncated(path: Path) -> None:
    pages(path, 3)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4])


def header_only(path: Path) -> None:
    path.write_bytes(b"%PDF-1.7\n")


def picture_only(path: Path) -> None:
    """Two pages that show an image and no text, as a scanner makes them."""
    pages(path, 2, contents=stream(b"q 600 0 0 800 0 0 cm /Im1 Do Q"))


def encrypted(path: Path, password: str = "open sesame") -> None:
    """Encrypted for the password; with an empty one everybody may read but not change it."""
    plain = path.with_suffix(".plain")
    pages(plain, 1)
    writer = PdfWriter(clone_from=PdfReader(plain))
    writer.encrypt(password, owner_password="owner", algorithm="AES-256")
    writer.write(path)
    plain.unlink()


def encrypted_for_nobody(path: Path) -> None:
    encrypted(path, "")


def pdf_and_zip(path: Path) -> None:
    """A polyglot: a whole PDF in front, a whole ZIP behind."""
    pages(path, 1)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("[Content_Types].xml", "wordprocessingml.document.main+xml")
        archive.writestr("word/document.xml", "<hidden>the other face</hidden>")
