"""How much one and two workers ingest: documents of ten formats, all waiting at once, from first start to last end.

The documents are stored before, so that the web takes no part. Rounds with one and with two workers take turns.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from statistics import median
from typing import Any

import psutil

from benchmarks import _report
from benchmarks._stack import TENANT, Stack, stack
from jobs.adapters import database, storage
from jobs.adapters.database.models import Document, Workspace
from jobs.domains.documents import service
from jobs.engine import JobView
from tests import corpus

WITHIN = timedelta(minutes=10)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=200)
    options = parser.parse_args()
    files = [corpus.make(number, paragraphs=40) for number in range(options.documents)]
    size = sum(len(file.content) for file in files) / 1e6
    with stack() as running:
        seconds: dict[int, list[float]] = {1: [], 2: []}
        cpu: dict[int, list[float]] = {1: [], 2: []}
        for number in range(options.rounds):
            for workers in seconds:
                took, used = _round(running, files, workers, f"round-{number}-{workers}")
                seconds[workers].append(took)
                cpu[workers].append(used)
        rows = [_row(workers, len(files), size, seconds[workers], cpu[workers]) for workers in seconds]
        ratio = round(median(one / two for one, two in zip(seconds[1], seconds[2], strict=True)), 2)
        title = f"Ingestion of {len(files)} documents of ten formats, {size:.1f} MB"
        passages = _passages(running)
        _report.publish("ingest", title, rows, running.fleet.redis, two_workers_to_one=ratio, passages=passages)


def _round(running: Stack, files: Sequence[corpus.File], workers: int, slug: str) -> tuple[float, float]:
    """Seconds from the first job's start to the last one's end, and seconds of processor time that the workers used.

    Raises RuntimeError when a job did not complete.
    """
    fleet = running.fleet
    documents = _stored(running, files, slug)
    processes = [running.start_worker() for _ in range(workers)]
    before = _cpu(processes)
    ids = [service.enqueue(document).id for document in documents]
    views: list[JobView] = []

    def ended() -> bool:
        views[:] = [view for view in fleet.jobs.get_many(ids) if view and view.ended]
        return len(views) == len(ids)

    running.wait(ended, WITHIN, every=timedelta(seconds=0.25))
    used = _cpu(processes) - before
    for process in processes:
        running.end(process)
    if {view.status for view in views} != {"completed"}:
        raise RuntimeError(f"not all completed: {[view.error for view in views if view.error]}")
    begun = min(view.started_at for view in views if view.started_at)
    return (max(view.ended_at for view in views if view.ended_at) - begun).total_seconds(), used


def _cpu(workers: Sequence[subprocess.Popen[bytes]]) -> float:
    """Seconds of processor time of the workers with their templates and children."""
    parents = [psutil.Process(worker.pid) for worker in workers]
    family = [each for parent in parents for each in (parent, *parent.children(recursive=True))]
    return float(sum(times.user + times.system for times in (each.cpu_times() for each in family)))


def _stored(running: Stack, files: Sequence[corpus.File], slug: str) -> list[Document]:
    kept = storage.connect(running.settings)
    with database.connect(running.settings).begin() as session:
        workspace: Workspace = service.create_workspace(session, TENANT, slug, slug)
    stored = [service.store(file.name, BytesIO(file.content), storage=kept, limit=None) for file in files]
    with database.connect(running.settings).begin() as session:
        return service.attach_all(session, workspace, stored)


def _passages(running: Stack) -> int:
    """How many passages the corpus makes."""
    with database.connect(running.settings).read() as session:
        workspace = service.get_workspace(session, "round-0-1", TENANT)
        pages = [service.list_documents(session, workspace, limit=200)]
        while pages[-1].next_cursor:
            pages.append(service.list_documents(session, workspace, limit=200, cursor=pages[-1].next_cursor))
        return sum(document.passages for page in pages for document in page.items)


def _row(workers: int, documents: int, size: float, seconds: Sequence[float], cpu: Sequence[float]) -> dict[str, Any]:
    middle = median(seconds)
    return {
        "workers": workers,
        "seconds": round(middle, 1),
        "fastest": round(min(seconds), 1),
        "slowest": round(max(seconds), 1),
        "documents/s": round(documents / middle, 1),
        "MB/s": round(size / middle, 2),
        "CPU ms a document": round(1000 * median(cpu) / documents),
    }


if __name__ == "__main__":
    main()
