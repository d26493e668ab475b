"""How a run ended, as a value: decided beside the job, written by the worker."""

from __future__ import annotations

import json
import traceback
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from jobs.engine import fingerprints
from jobs.engine.errors import Cancelled, FleetError, Permanent, Untrusted
from jobs.engine.log_redaction import scrub
from jobs.engine.policy import FINAL, Retry

Kind = Literal["finished", "failed", "cancelled", "stopped", "retry", "released", "lost", "quarantined"]
DECIDED_BY_CHILDREN = ("finished", "failed", "cancelled", "retry", "quarantined", "released")
LONGEST_TRACEBACK = 20_000
LONGEST_WAIT = timedelta(days=3660)
LONGEST_MESSAGE = 1_000
LONGEST_LINE = 300
LARGEST_RESULT = 1024 * 1024
_as_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Outcome(NamedTuple):
    """One run's end. `value` is the result as JSON text, `wait` the time before a retry.

    `flags` are of jobs of plain RQ clients: n when the job returned a Retry, x when it did so once too often, a when it
    goes to the front of the queue for its retry.
    What raised also says what its dead letter shows: `text` for operators, the error's `fingerprint`, and `spent`, when
    no retry was left for something that is retried.
    """

    kind: Kind
    value: str | None = None
    error_type: str = ""
    message: str = ""
    traceback: str = ""
    wait: timedelta | None = None
    flags: str = ""
    text: str = ""
    fingerprint: str = ""
    spent: bool = False

    def at_front(self) -> Outcome:
        """The same; a retry goes to the front of the queue."""
        return self._replace(flags=f"{self.flags}a") if self.kind == "retry" else self

    @property
    def error(self) -> dict[str, str]:
        """What users are shown of the error."""
        return {"type": self.error_type, "message": self.message}

    def letter(self, attempt: int) -> dict[str, Any]:
        """What the dead letters keep of run number `attempt`, which raised."""
        return {
            "attempt": attempt,
            "error": json.dumps(self.error),
            "text": self.text or f"{self.error_type}: {self.message}",
            "fingerprint": self.fingerprint or fingerprints.made_of(self.error_type, self.message, ()),
            "spent": self.spent,
        }


def of_result(result: Any) -> Outcome:
    """A run that returned; a result that is no JSON, or over 1 MiB of it, is a failure that no retry mends."""
    try:
        text = "null" if result is None else str(result) if type(result) is int else _as_json(result)
    except (TypeError, ValueError, RecursionError) as error:
        return of_error(Permanent(f"the job's result is no JSON: {error}"), None, 1)
    if len(text) > LARGEST_RESULT:
        return of_error(Permanent("the job's result is over 1 MiB: store it and return its key"), None, 1)
    return Outcome("finished", text)


def of_error(error: BaseException, retry: Retry | None, attempt: int) -> Outcome:
    """A run that raised: cancelled, quarantined, to be run again, or failed for good, as the policy says."""
    about: dict[str, Any] = {
        "error_type": type(error).__name__,
        "message": _message(error),
        "traceback": _traceback(error),
        "text": _clean(fingerprints.line(error))[:LONGEST_LINE],
        "fingerprint": fingerprints.of(error),
    }
    if isinstance(error, Cancelled):
        return Outcome("cancelled", **about)
    if isinstance(error, Untrusted):
        return Outcome("quarantined", **about)
    wait = retry.wait_after(attempt, error) if retry is not None else None
    if wait is not None:
        return Outcome("retry", wait=wait, **about)
    return Outcome("failed", spent=not isinstance(error, FINAL), **about)


def of_message(values: Any) -> Outcome:
    """The outcome that a child sent as JSON. Raises ValueError, TypeError or KeyError for anything else."""
    wait = values["wait"]
    ended = Outcome(**{**values, "wait": None if wait is None else min(timedelta(seconds=float(wait)), LONGEST_WAIT)})
    texts = (ended.error_type, ended.message, ended.traceback, ended.value or "", ended.flags, ended.text)
    if (
        ended.kind not in DECIDED_BY_CHILDREN
        or not all(isinstance(text, str) for text in texts)
        or len(ended.flags) > 2
        or not (ended.fingerprint == "" or fingerprints.is_one(ended.fingerprint))
        or not isinstance(ended.spent, bool)
    ):
        raise ValueError("a child may not decide this")
    for text in texts:
        text.encode()
    return ended


def _message(error: BaseException) -> str:
    """An error of ours says what the user may read; any other might quote anything: its text stays in the traceback."""
    if isinstance(error, FleetError):
        return _clean(str(error))[:LONGEST_MESSAGE] or type(error).__name__
    return f"an unexpected {type(error).__name__}; the job's log and traceback have the details"


def _traceback(error: BaseException) -> str:
    return _clean("".join(traceback.format_exception(error)))[-LONGEST_TRACEBACK:]


def _clean(text: str) -> str:
    """Without credentials, and without the lone surrogates that undecodable file names bring and UTF-8 can't hold."""
    return scrub(text.encode("utf-8", "backslashreplace").decode())
