"""What the launcher can run into; each message says what to do next."""

from __future__ import annotations


class CannotStart(Exception):
    """Something that the person must change first."""


class ProcessEnded(Exception):
    """A process that should run on has ended by itself."""


class PortTaken(Exception):
    """Another program has taken web's port since it was looked at."""


class Interrupted(BaseException):
    """The person pressed Ctrl-C, closed the terminal or sent SIGTERM."""
