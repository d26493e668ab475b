"""What a checkup says, and the time that each part has to answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from jobs.engine import FleetError
from jobs.engine.log_redaction import scrub
from jobs.settings import InvalidSettings

LIMIT = timedelta(seconds=10)


@dataclass(frozen=True)
class Finding:
    """One line: `ok`, a `note` worth knowing, or a `problem` that keeps the fleet from working, and what to do."""

    level: Literal["ok", "note", "problem"]
    part: str
    text: str
    advice: str = ""


def within(part: str, look: Callable[[], Iterable[Finding]], advice: str) -> list[Finding]:
    """What `look` finds; what it raises is a problem with that advice, and so is silence."""
    found: list[Finding] = []
    silence = Finding("problem", part, f"there is no answer within {LIMIT.total_seconds():.0f} s", advice)

    def run() -> None:
        try:
            found.extend(look())
        except Exception as error:
            found.append(Finding("problem", part, scrub(line_of(error)), advice))

    thread = threading.Thread(target=run, name=f"checkup {part}", daemon=True)
    thread.start()
    thread.join(LIMIT.total_seconds())
    return [*found, silence] if thread.is_alive() else found


def line_of(error: BaseException) -> str:
    """An error in one line, with the operating system's reason behind it."""
    cause = getattr(error, "orig", None) or error
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    below = None if isinstance(error, InvalidSettings) else error.__cause__
    told = isinstance(error, FleetError) and below is not None
    return f"{reason} ({line_of(below)})" if below is not None and (told or isinstance(below, OSError)) else reason
