"""A multipart body as a sequence of parts, read as the bytes arrive and never held as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from flask import Request
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from webapp.errors import Problem

CHUNK = 64 * 1024
MAX_HEADER = 256 * 1024
MALFORMED = "The multipart body is malformed or ends too early."


@dataclass
class Part:
    """One part: its field, its file name (None for a plain field) and its content, to be read before the next part."""

    field: str
    filename: str | None
    chunks: Iterator[bytes]


def parts_of(request: Request, *, limit: int, skip: int) -> Iterator[Part]:
    """The parts of a multipart/form-data request, at most `limit` of them.

    What is left of a part when the next is asked for is read and dropped, up to `skip` bytes in the whole request.
    Raises a 415, 400 or 413 problem.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data":
        raise Problem(415, "Send the files as multipart/form-data.")
    if not 1 <= len(boundary) <= 200 or not boundary.isascii():
        raise Problem(400, "The multipart boundary is missing.")
    request.max_content_length = sys.maxsize  # each file has a limit of its own; None would mean the default one
    return _Reader(request.stream, boundary.encode(), limit, skip).parts()


class _Reader:
    def __init__(self, stream: IO[bytes], boundary: bytes, limit: int, skip: int) -> None:
        self._stream, self._limit, self._skip = stream, limit, skip
        self._decoder = MultipartDecoder(boundary, max_form_memory_size=MAX_HEADER)

    def parts(self) -> Iterator[Part]:
        count = 0
        while not isinstance(event := self._next(), Epilogue):
            if not isinstance(event, Field | File):
                continue
            count += 1
            if count > self._limit:
                raise Problem(413, f"Send at most {self._limit} files at once.")
            part = Part(event.name or "", event.filename if isinstance(event, File) else None, self._content())
            yield part
            self._drop(part)

    def _content(self) -> Iterator[bytes]:
        more = True
        while more:
            event = self._next()
            if not isinstance(event, Data):
                raise Problem(400, MALFORMED)
            more = event.more_data
            if event.data:
                yield event.data

    def _drop(self, part: Part) -> None:
        for chunk in part.chunks:
            self._skip -= len(chunk)
            if self._skip < 0:
                raise Problem(413, "The request is too large.", headers={"Connection": "close"})

    def _next(self) -> Event:
        try:
            while isinstance(event := self._decoder.next_event(), NeedData):
                self._decoder.receive_data(self._stream.read(CHUNK) or None)
        except (ValueError, OSError) as error:
            raise Problem(400, MALFORMED) from error
        return event
