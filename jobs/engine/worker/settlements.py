"""What the settle script is told of an outcome: heads, which many runs share, and words."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from jobs.engine.outcome import Kind

EVENTS = {
    "finished": "job:completed",
    "failed": "job:failed",
    "cancelled": "job:cancelled",
    "stopped": "job:cancelled",
    "retry": "job:retrying",
    "released": "job:queued",
    "lost": "job:queued",
    "quarantined": "job:failed",
}


class Settlement(NamedTuple):
    """What the settle script is told of a run: the part that many runs have in common, and the run's own.

    Of most runs the latter is there in the words of Redis' protocol too.
    """

    head: str
    own: tuple[str | bytes, ...]
    ready: bytes = b""


@lru_cache(1000)
def head(queue: str, kind: Kind, job_type: str, keep: timedelta, count: int, request: str = "") -> str:
    """What runs that ended in the same way have in common; `request` is the one of a batch's plain ends."""
    told = {"queue": queue, "kind": kind, "type": job_type, "keep": int(keep.total_seconds()), "count": count}
    return json.dumps({**told, "event": EVENTS[kind], **({"request": request} if request else {})})


def plain(job: str, execution: str, value: str, begun: str, ended: str, common: str) -> Settlement:
    """That of a first run of a batch that finished and of which there is nothing to say but its result (base64)."""
    ready = (
        f"${len(job)}\r\n{job}\r\n${len(execution)}\r\n{execution}\r\n${len(value)}\r\n{value}\r\n"
        f"${len(begun)}\r\n{begun}\r\n${len(ended)}\r\n{ended}\r\n"
    )
    return Settlement(common, (job, execution, value, begun, ended), ready.encode())
