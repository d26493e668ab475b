"""What a plain RQ client enqueues by path."""

from __future__ import annotations

import time
from uuid import uuid4

from tests.chaos import journal


def work(path: str, job_id: str, seconds: float) -> str:
    """Takes its time; the token names no execution, since RQ does not tell a function its own."""
    token = f"foreign-{uuid4().hex}"
    journal.begin(path, job_id, 1, token)
    time.sleep(seconds)
    journal.end(path, job_id, 1, token, "done")
    return token
