"""The answer that a stream of server-sent events is."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import chain

from flask import Response

from jobs.engine import BrokerUnavailable

HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}


def stream(chunks: Generator[str]) -> Response:
    """The first piece is made here, while an error can still become a problem document."""
    pieces = chain([next(chunks)], _until_redis_goes(chunks))
    response = Response(pieces, mimetype="text/event-stream", headers=HEADERS)
    response.call_on_close(chunks.close)
    return response


def _until_redis_goes(chunks: Iterator[str]) -> Iterator[str]:
    """A stream that is cut off ends like any other: its client comes back and resumes."""
    with suppress(BrokerUnavailable):
        yield from chunks
