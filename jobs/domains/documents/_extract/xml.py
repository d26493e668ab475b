"""XML seen as a stream before a parser builds a tree of it: no entities, bounded depth, size and text."""

from __future__ import annotations

from xml.parsers import expat

from jobs.domains.documents._extract.model import Limits, Unreadable

_LONGEST_TOKEN = 10_000_000
_MUST_BE_WELL_FORMED = (".xml", ".rels", ".opf")
_OTHER_STARTS = (b"\x4c\x6f\xa7\x94", b"\x00\x00\x00<\x00\x00\x00", b"<\x00\x00\x00", b"\xff\xfe\x00\x00<\x00\x00\x00")
"""How XML begins in EBCDIC and UTF-32: libxml2 reads these and expat does not."""
_STRANGE_ENCODING = expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING]


class XmlCheck:
    """Feed it a part's bytes and close it; raises Unreadable. Nothing outside the bytes is ever opened."""

    def __init__(self, name: str, limits: Limits, *, records: frozenset[str], web: bool) -> None:
        self._limits, self._records = limits, records
        self._strict = name.lower().endswith(_MUST_BE_WELL_FORMED) and not web
        self._web = web
        self._depth = self._elements = self._found = self._chars = self._fed = 0
        parser = self._parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.buffer_text = True
        self._broken = False

    def concerns(self, start: bytes, chunk: bytes) -> bool:
        """Whether a part whose first bytes are `chunk`, and without white space `start`, is to be checked.

        Raises Unreadable for XML that only the parser behind this check could read.
        """
        if self._strict:
            return True
        if chunk.startswith(_OTHER_STARTS):
            raise _uncheckable()
        return start.startswith(b"<")

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes."""
        if not self._broken:
            self._fed += len(chunk)
            self._parse(chunk, False)
            if not self._broken and self._fed - self._parser.CurrentByteIndex > _LONGEST_TOKEN:
                raise Unreadable("the file holds a piece of XML that is too long to be read safely")

    def close(self) -> None:
        """Check that the part is complete."""
        if not self._broken:
            self._parse(b"", True)

    def _parse(self, chunk: bytes, final: bool) -> None:
        try:
            self._parser.Parse(chunk, final)
        except (ValueError, LookupError) as error:  # declares an encoding of several bytes a letter, or none there is
            raise _uncheckable() from error
        except expat.ExpatError as error:
            if self._strict:
                raise Unreadable("the file is damaged: its XML can't be read") from error
            if error.code == _STRANGE_ENCODING:
                raise _uncheckable() from error
            self._broken = True

    def _doctype(self, _name: str, _system: str | None, _public: str | None, _internal: bool) -> None:
        if not self._web:
            raise Unreadable("the file holds an XML document type declaration, which office files never need")

    def _entity(self, *_declaration: object) -> None:
        raise Unreadable("the file declares XML entities, which were not resolved")

    def _start(self, tag: str, _attributes: object) -> None:
        self._depth += 1
        self._elements += 1
        if tag.rpartition(":")[2] in self._records:
            self._found += 1
            self._elements = 0
        limits = self._limits
        if self._depth > limits.max_nesting and not self._web:
            raise Unreadable(f"the file nests its content more than {limits.max_nesting} levels deep")
        if self._elements > limits.max_elements:
            raise Unreadable(f"the file holds more than {limits.max_elements:,} elements in one part")
        if self._found > limits.max_cells:
            raise Unreadable(f"the workbook holds more than {limits.max_cells:,} cells")

    def _end(self, _tag: str) -> None:
        self._depth -= 1

    def _text(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > self._limits.max_text_chars:
            raise Unreadable(f"the file holds more than {self._limits.max_text_chars:,} characters of text")


def _uncheckable() -> Unreadable:
    return Unreadable("the file holds XML in an encoding that can't be checked; save it as UTF-8 and upload it again")
