"""A periodic job that tells its id."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from jobs.engine import Context, Payload, job


class Tick(Payload):
    pass


@job("local.tick", every=timedelta(seconds=1))
def tick(payload: Tick, context: Context) -> None:
    """Tells which run it is, beside the database."""
    folder = Path(context.settings.storage_url.removeprefix("file://")).parent / "told"
    with (folder / "tick.told").open("a") as file:
        file.write(f"{context.job_id}\n")
