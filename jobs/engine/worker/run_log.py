"""What is told of each run that has ended: a log line, put together by hand as there are many, and a count."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import structlog

from jobs.engine.log_redaction import redact
from jobs.engine.statistics import AboutRun, Tally
from jobs.engine.worker.settling import EndedRun
from jobs.settings import Settings

TAKEN = ("ok", "again")
log = structlog.get_logger("worker")


class RunLog:
    """Writes a line for each outcome that was settled, the JSON lines of finished runs in one write, and counts it."""

    def __init__(self, settings: Settings, worker: str) -> None:
        self.tally = Tally(worker)
        self._is_quick = settings.json_logs and settings.log_level in ("DEBUG", "INFO")
        self._tail = f'"logger":"worker","process":"worker","pid":{os.getpid()}'

    def write(self, batch: Sequence[EndedRun], words: Sequence[str]) -> None:
        """Tell how runs ended and whether their outcome was taken."""
        self.tally.count(_counted(batch, words))
        lines, time = [], f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z"
        for each, word in zip(batch, words, strict=True):
            if self._is_quick and each.outcome.kind == "finished" and word in TAKEN:
                lines.append(self._finished(each, time))
            else:
                _log(each, word)
        if lines:
            try:
                sys.stderr.write("".join(lines))
                sys.stderr.flush()
            except (OSError, ValueError, AttributeError):
                return

    def _finished(self, each: EndedRun, time: str) -> str:
        running = each.running
        return (
            f'{{"time":"{time}","level":"info","event":"job finished",{self._tail},"job_id":"{running.job_id}",'
            f'"job_type":{_text(running.job_type)},"tenant":{_text(running.tenant)},'
            f'"correlation_id":{_text(running.correlation_id)},"attempt":{running.attempt},'
            f'"seconds":{max(0.0, each.ended - each.begun):.3f}}}\n'
        )


def _counted(batch: Sequence[EndedRun], words: Sequence[str]) -> Iterator[AboutRun]:
    """The runs that were taken; what was given back goes on elsewhere and is counted there."""
    for (running, outcome, begun, ended, _, _), word in zip(batch, words, strict=True):
        if word in TAKEN and outcome.kind != "released":
            since = running.enqueued_at
            wait = None if since is None else begun - since if begun > since else 0.0
            ran = ended - begun if ended > begun else 0.0
            yield running.queue, running.lane, running.job_type, outcome.kind, ran, wait


@lru_cache(4096)
def _text(value: str) -> str:
    return json.dumps(redact({"value": value})["value"])


def _log(each: EndedRun, word: str) -> None:
    running, outcome = each.running, each.outcome
    about = {
        "job_id": running.job_id,
        "job_type": running.job_type,
        "tenant": running.tenant,
        "correlation_id": running.correlation_id,
        "attempt": running.attempt,
        "seconds": round(each.ended - each.begun, 3),
    }
    if word == "refused":
        log.error("outcome could not be written: the job is quarantined", kind=outcome.kind, **about)
    elif word == "stale":
        log.warning("outcome refused: the lease was lost", kind=outcome.kind, **about)
    elif outcome.kind == "finished":
        log.info("job finished", **about)
    else:
        wait = None if outcome.wait is None else round(outcome.wait.total_seconds(), 3)
        log.warning(f"job {outcome.kind}", error=outcome.error_type, message=outcome.message, retry_in=wait, **about)
