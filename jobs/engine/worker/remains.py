"""The last words of a child: what lay in its output pipes when it died, too suddenly to read it itself."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from jobs.engine.output import Output
from jobs.engine.worker.capture import echo_of
from jobs.engine.worker.descriptors import STREAMS, Pipe, piece

if TYPE_CHECKING:
    from jobs.engine.worker.running import Running

MOST = 250
"""Children whose pipes a worker holds as well: each costs it two open files."""
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

    def batches(self, running: Running) -> list[list[str]]:
        """What is left, as lines of the run that died; each is a JSON object as text."""
        found: list[list[str]] = []
        output = Output(found.append, running.attempt, echo_of(running))
        for stream, (reading, _) in zip(STREAMS, self._pipes, strict=True):
            os.set_blocking(reading, False)
            for _ in range(MOST_PIECES):
                output.write(stream, piece(reading))
        output.close()
        return found

    def close(self) -> None:
        """Let go of the pipes."""
        for reading, _ in self._pipes:
            with contextlib.suppress(OSError):
                os.close(reading)
        self._pipes = []
