"""The last words of a child: what its run held back, and what lay in its output pipes, when it died too suddenly."""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import sys
from typing import TYPE_CHECKING

from jobs.engine.log_redaction import strike
from jobs.engine.output import STREAMS, Output
from jobs.engine.worker.descriptors import Pipe, piece
from jobs.engine.worker.echo import echo_of

if TYPE_CHECKING:
    from jobs.engine.worker.page import Page
    from jobs.engine.worker.running import Running

LEAST_OF_ALL = 250
"""Children whose pipes a worker holds as well, where files are few: each costs it two."""
FILES_A_CHILD, FILES = 8, 250
MOST_PIECES = 4
"""A pipe holds one; somebody else may still be writing."""


class Remains:
    """A worker's hold on the pipes that one child writes its output to."""

    def __init__(self) -> None:
        self._pipes: list[Pipe] = [os.pipe(), os.pipe()]

    def given(self) -> list[int]:
        """The ends for the child, in the order in which `child.main` takes them."""
        return [fd for pipe in self._pipes for fd in pipe]

    def hand_over(self) -> None:
        """The child has its copies: only the reading ends stay here."""
        for _, writing in self._pipes:
            os.close(writing)

    def pour(self, output: Output) -> None:
        """Write what is left to the output of the run that died."""
        for stream, (reading, _) in zip(STREAMS, self._pipes, strict=True):
            os.set_blocking(reading, False)
            for _ in range(MOST_PIECES):
                output.write(stream, piece(reading))

    def close(self) -> None:
        """Let go of the pipes."""
        for reading, _ in self._pipes:
            with contextlib.suppress(OSError):
                os.close(reading)
        self._pipes = []


def most() -> int:
    """Of how many children a worker can hold the pipes as well, by the number of files that it may open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if files == resource.RLIM_INFINITY else max(LEAST_OF_ALL, (files - FILES) // FILES_A_CHILD)


def last_words(running: Running, page: Page, heard: int, remains: Remains | None) -> list[list[str]]:
    """What a dead child had not told of its run, as lines, each a JSON object as text; so many of its lines it had."""
    found: list[list[str]] = []
    output = Output(found.append, running.attempt, echo_of(running))
    known = 0
    with contextlib.suppress(ValueError, TypeError, LookupError, ArithmeticError, RecursionError, struct.error):
        for secret in page.spool.secrets():
            strike(secret)
        if (held := page.spool.held()) is not None:
            known = max(0, heard - held.first)
            output.take_over(held)
    if remains is not None:
        remains.pour(output)
    output.close()
    for batch in found:
        known -= len(already := batch[:known])
        del batch[: len(already)]
    return [batch for batch in found if batch]
