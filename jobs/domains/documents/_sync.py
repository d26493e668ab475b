"""Synchronising a source: what is new, changed or gone there becomes jobs here."""

from __future__ import annotations

from jobs.adapters import database as databases
from jobs.domains.documents import _sync_folder, _sync_page
from jobs.domains.documents._arrivals import look
from jobs.engine import Context


def sync(source_id: str, tenant: str, context: Context) -> dict[str, int] | None:
    """Bring the source's documents up to date; how many were added, changed and removed, or None when it is gone.

    May be repeated: what was done is in the source's state. Raises what fetching raises.
    """
    source = look(databases.connect(context.settings), source_id, tenant)
    if source is None:
        context.log.info("the source was deleted", source_id=source_id)
        return None
    context.progress("fetching", 0)
    counts = _sync_page.sync(source, context) if source.kind == "url" else _sync_folder.sync(source, context)
    context.progress("done", 100)
    return counts
