"""The stages of an ingestion as shares of the whole, so that a bar never goes back."""

from __future__ import annotations

from jobs.engine import Context

SPANS = {
    "fetching": (0.0, 5.0),
    "extracting": (5.0, 45.0),
    "embedding": (45.0, 90.0),
    "indexing": (90.0, 99.0),
    "done": (100.0, 100.0),
}


class Stages:
    """Reports progress for one run, at most once per stage and whole percent."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reached = 0.0
        self._told: tuple[str, int] | None = None

    def at(self, stage: str, percent: float = 0.0) -> None:
        """Tell that `stage` is `percent` (0 to 100) done. Raises Cancelled."""
        low, high = SPANS[stage]
        self._reached = max(self._reached, low + (high - low) * min(max(percent, 0.0), 100.0) / 100)
        now = (stage, int(self._reached))
        if now == self._told:
            self._context.check()
            return
        self._told = now
        self._context.progress(stage, self._reached)
