"""Dead letters of jobs that failed behind the engine's back: RQ's own tools write no letter."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from datetime import timedelta

import redis

from jobs.engine import fingerprints
from jobs.engine.broker import translate_errors
from jobs.engine.keys import PREFIX
from jobs.engine.log_redaction import scrub
from jobs.engine.outcome import LONGEST_LINE, Outcome
from jobs.engine.scripts import script
from jobs.settings import Settings

AT_ONCE = 500
LARGEST = 1024 * 1024
_ABANDONED = re.compile(r"\bAbandonedJobError\b")
_RAISED = re.compile(r"(?:[\w.]+\.)?([A-Z]\w*)(?:: (.*))?")


def find(client: redis.Redis, settings: Settings, *, every: timedelta = timedelta(0)) -> int:
    """Enter letters for such jobs, looking at some of each registry; returns how many. Raises BrokerUnavailable.

    It looks unless somebody has done so within `every`.
    """
    seconds = int(every.total_seconds())
    age = int(settings.dead_letter_max_age.total_seconds())
    with translate_errors():
        found = script("unlettered")(client, PREFIX, age, settings.dead_letter_max_count, AT_ONCE, seconds)
        calls = []
        for job_id, job_type, packed, died_at in found:
            letter = json.dumps(_outcome(_text(packed)).letter(0))
            calls.append((PREFIX, job_id, job_type, letter, "", died_at))
        if calls:
            script("bury").many(client, calls)
    return len(found)


def _outcome(told: str) -> Outcome:
    """How a run ended of which only RQ's text is known: a traceback, or that its worker died."""
    if _ABANDONED.search(told) and "Traceback" not in told:
        return Outcome("failed", error_type="WorkerLost", message="its worker was lost")
    lines = told.strip().splitlines()
    raised = _RAISED.fullmatch(lines[-1].strip()) if lines else None
    kind, message = (raised[1], raised[2] or "") if raised else ("Failed", lines[-1] if lines else "")
    return Outcome(
        "failed",
        error_type=kind,
        message=f"an unexpected {kind}; the job's log and traceback have the details",
        text=scrub(f"{kind}: {message}" if message else kind)[:LONGEST_LINE],
        fingerprint=fingerprints.made_of(kind, message, ()),
    )


def _text(packed: bytes) -> str:
    """RQ's way is zlib in base64; what is no such thing is taken as it is."""
    try:
        return zlib.decompressobj().decompress(b64decode(packed), LARGEST).decode("utf-8", "replace")
    except (ValueError, zlib.error):
        return packed.decode("utf-8", "replace")
