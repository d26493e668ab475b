"""What a plain RQ client enqueues by path."""

from __future__ import annotations

import time
from uuid import uuid4

from rq import get_current_job

from tests.chaos import journal

RETRIES = 2
"""How often a client asks RQ to retry a job that fails."""


def work(path: str, job_id: str, seconds: float, fails: int = 0) -> str:
    """Takes its time; the token names no execution, since RQ does not tell a function its own."""
    attempt = 1 + _retried() if fails else 1
    token = f"foreign-{uuid4().hex}"
    journal.begin(path, job_id, attempt, token)
    time.sleep(seconds)
    raises = attempt <= fails
    journal.end(path, job_id, attempt, token, "raised" if raises else "done")
    if raises:
        raise ValueError("not yet")
    return token


def _retried() -> int:
    job = get_current_job()
    assert job is not None
    assert job.retries_left is not None
    return RETRIES - job.retries_left
