"""Jobs that call a provider, which fails on command."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from jobs.engine import Context, Permanent, ProviderFailed, Retry, job
from tests.engine.samples.jobs import Told, tell


@job("providers.call", lane="audit", retry=Retry(max_retries=1, first=timedelta(0), longest=timedelta(0)))
def call(payload: Told, context: Context) -> None:
    """Ask the provider: files in the folder say that it is down, asks for ten minutes, or refuses the question."""
    folder = Path(payload.folder)
    with context.provider("llm"):
        tell(payload, context.job_id)
        if (folder / "down").exists():
            raise ProviderFailed("the provider is down")
        if (folder / "busy").exists():
            raise ProviderFailed("too many requests", after=timedelta(minutes=10))
        if (folder / "refused").exists():
            raise Permanent("the provider says no")


@job("providers.call_later", lane="audit", retry=Retry(max_retries=0))
def call_later(payload: Told, context: Context) -> None:
    """Wait for a file before the call."""
    tell(payload, context.job_id)
    while not Path(payload.folder, f"{payload.name}.go").exists():
        time.sleep(0.01)
    with context.provider("llm"):
        pass
