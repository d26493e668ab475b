"""rq-dashboard's pages of a list of jobs: as much is read as is shown, however long the list is and far the page."""

from __future__ import annotations

from typing import Any

import rq_dashboard.web as upstream  # type: ignore[import-untyped]
from redis import Redis

from webapp.dashboard_lists import Listed
from webapp.json_rq import JsonQueue


def jobs_of_page(
    queue_name: str, registry_name: str, offset: int, per_page: int, order: str, connection: Redis
) -> tuple[int, list[dict[str, Any]]]:
    """How many jobs the list has, and those of one page as the package's scripts take them. Raises BrokerUnavailable.

    The package's own reads, of page 1,000, a thousand pages: it takes the place of the last job for a number of jobs.
    """
    listed = Listed(queue_name, registry_name)
    size = listed.size()
    most = min(per_page, size - offset)
    entries = listed.some(size - offset - most if order == "dsc" else offset, most) if most > 0 else []
    ids = dict.fromkeys(listed.job_id(entry) for entry in (reversed(entries) if order == "dsc" else entries))
    queue = JsonQueue(queue_name, connection=connection)
    found = [queue.fetch_job(job_id) for job_id in ids]
    return size, [upstream.serialize_job(job) for job in found if job is not None]
