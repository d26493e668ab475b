"""Two hundred real files, whole and broken, through web, two workers and scheduler: none lost, none done twice."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from jobs.adapters import database as databases
from jobs.adapters import storage
from jobs.adapters.database import rows
from jobs.adapters.database.models import DOCUMENTS, PASSAGES, UPLOADS, Document
from jobs.engine import Fleet, JobView, keys
from jobs.settings import Settings
from tests import corpus, sample_copies
from tests.conftest import ROOT, free_port, wait_until
from tests.hostile import HOSTILE
from webapp.auth import SCOPES, make_token

Spawn = Callable[..., subprocess.Popen[bytes]]
CLIENTS, A_REQUEST = 3, 7
WHOLE, BROKEN = 170, 30
LONG_TO_READ_OR_WRITE = re.compile("hides its pages|listed often|deflate bomb|entries|far away|wide rows|giant")
PATIENCE = 150.0


@dataclass(frozen=True)
class Posted:
    """A file that is to be uploaded, with the word it is found by or the error that it must end in."""

    name: str
    content: bytes
    word: str = ""
    error: str = ""


class Site:
    """The real web server, asked over HTTP."""

    def __init__(self, port: int, settings: Settings) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {make_token(settings, 'ours', list(SCOPES))}"}

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self._base, headers=self._headers, timeout=60, trust_env=False)

    def ready(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def upload(self, files: Sequence[Posted]) -> list[dict[str, Any]]:
        """Post the files, some in each request; an entry for each, in order."""
        entries: list[dict[str, Any]] = []
        with self.client() as client:
            for start in range(0, len(files), A_REQUEST):
                parts = [("files", (file.name, file.content)) for file in files[start : start + A_REQUEST]]
                answer = client.post("/api/workspace/papers/upload", files=parts)
                assert answer.status_code == 202, answer.text
                entries += answer.json()["documents"]
        assert len(entries) == len(files)
        return entries

    def documents(self) -> list[dict[str, Any]]:
        """All that the workspace lists."""
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next_cursor": ""}
        with self.client() as client:
            while page["next_cursor"] is not None:
                query = {"limit": "200", "cursor": page["next_cursor"]}
                page = client.get("/api/workspace/papers/documents", params=query).raise_for_status().json()
                found += page["items"]
        return found

    def holders(self, words: Sequence[str]) -> list[set[str]]:
        """For each word the ids of the documents in whose passages a search shows it."""
        with self.client() as client:
            answers = [client.get("/api/workspace/papers/search", params={"q": word}) for word in words]
        hits = [answer.raise_for_status().json()["hits"] for answer in answers]
        return [
            {hit["document_id"] for hit in found if word in hit["text"]}
            for word, found in zip(words, hits, strict=True)
        ]


@pytest.fixture
def site(settings: Settings, fleet: Fleet, spawn: Spawn) -> Iterator[Site]:
    databases.migrate(settings)
    port = free_port()
    options = ["-c", str(ROOT / "deploy/gunicorn.conf.py"), "--bind", f"127.0.0.1:{port}"]
    web = spawn("-m", "gunicorn", *options, "webapp:create_app()", WEB_CONCURRENCY="2")
    site = Site(port, settings)
    wait_until(site.ready)
    with site.client() as client:
        client.post("/api/workspaces", json={"slug": "papers", "name": "Papers"}).raise_for_status()
    yield site
    web.terminate()
    assert web.wait(30) == 0


def whole(count: int) -> list[Posted]:
    """Documents that can be read: one in four a copy of a sample, the others made."""
    made = [sample_copies.make(number) if number % 4 == 3 else corpus.make(number) for number in range(count)]
    return [Posted(file.name, file.content, word=file.word) for file in made]


def broken(folder: Path) -> list[Posted]:
    """Files that must fail, of all the ways that are quick."""
    ways = [each for each in HOSTILE if each.error and not LONG_TO_READ_OR_WRITE.search(each.title)]
    return [Posted(each.name, each.write(folder).read_bytes(), error=each.error or "") for each in ways[:BROKEN]]


def test_each_file_ends_completed_and_found_or_failed_and_explained_and_none_runs_twice(
    site: Site, fleet: Fleet, settings: Settings, spawn: Spawn, spawn_worker: Spawn, tmp_path: Path
) -> None:
    processes = [spawn_worker(), spawn_worker(), spawn("worker.py", "--scheduler")]
    posted = whole(WHOLE) + broken(tmp_path / "broken")
    random.Random(200).shuffle(posted)
    assert len(posted) == 200
    shares = [posted[start::CLIENTS] for start in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        entries = [entry for share in clients.map(site.upload, shares) for entry in share]
    pairs = list(zip((file for share in shares for file in share), entries, strict=True))
    views = until_all_ended(fleet, [entry["job_id"] for entry in entries if entry["id"]])

    assert surprises(pairs, site) == []
    assert {view.id: view.attempts for view in views} == {view.id: 1 for view in views}
    assert {view.id: counted(fleet, view) for view in views} == {view.id: once(view) for view in views}
    assert len({view.worker for view in views}) == 2
    assert_written_once(settings, [entry["id"] for entry in entries if entry["id"]])
    assert_all_ended(fleet, jobs=len(views))
    found = dict(searched(site, [file.word for file, _ in pairs if file.word]))
    assert found == {file.word: {entry["id"]} for file, entry in pairs if file.word}
    assert [process.poll() for process in processes] == [None] * len(processes)


def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(
    site: Site, fleet: Fleet, settings: Settings, spawn_worker: Spawn
) -> None:
    victim, _ = spawn_worker(), spawn_worker()
    entries = site.upload(whole(30))
    ids = [entry["job_id"] for entry in entries]
    held = wait_until(partial(frozen_at_work, fleet, victim, ids))
    victim.kill()
    victim.wait(10)
    views = until_all_ended(fleet, ids)

    assert {view.id: view.status for view in views} == dict.fromkeys(ids, "completed")
    assert {view.id: view.attempts for view in views} == dict.fromkeys(ids, 1)
    assert {view.id: counted(fleet, view) for view in views} == {
        view.id: once(view, taken=2 if view.id in held else 1) for view in views
    }
    assert {document["status"] for document in site.documents()} == {"completed"}
    assert_written_once(settings, [entry["id"] for entry in entries])
    assert_all_ended(fleet, jobs=30)


def until_all_ended(fleet: Fleet, ids: Sequence[str]) -> list[JobView]:
    def ended() -> list[JobView]:
        views = [view for view in fleet.jobs.get_many(list(ids)) if view and view.ended]
        return views if len(views) == len(ids) else []

    return wait_until(ended, timeout=PATIENCE, every=0.2)


def frozen_at_work(fleet: Fleet, worker: subprocess.Popen[bytes], ids: Sequence[str]) -> set[str]:
    """Stop the worker where some jobs have ended and it holds others, and return those; else it runs on."""
    worker.send_signal(signal.SIGSTOP)
    views = [view for view in fleet.jobs.get_many(list(ids)) if view]
    held = {view.id for view in views if view.status == "started" and f"-{worker.pid}-" in (view.worker or "")}
    if not held or sum(view.ended for view in views) < 3:
        worker.send_signal(signal.SIGCONT)
        return set()
    return held


def surprises(pairs: Sequence[tuple[Posted, dict[str, Any]]], site: Site) -> list[str]:
    """The files that did not end as they should, and how they ended; a refused file has no document."""
    listed = site.documents()
    rows = {row["id"]: row for row in listed}
    assert sorted(row["id"] for row in listed) == sorted(entry["id"] for _, entry in pairs if entry["id"])
    endings = [(file, rows.get(entry["id"], entry)) for file, entry in pairs]
    return [f"{file.name}: {row['status']}, {row['error']}" for file, row in endings if not _as_it_should(file, row)]


def _as_it_should(file: Posted, row: dict[str, Any]) -> bool:
    if file.error:
        return row["status"] == "failed" and re.search(file.error, row["error"], re.IGNORECASE) is not None
    return row["status"] == "completed" and row["error"] is None and row["passages"] > 0


def counted(fleet: Fleet, view: JobView) -> dict[str, int]:
    """How often each event happened, progress and output left out."""
    events = fleet.events.read(f"job:{view.id}", tenant=view.tenant, count=1000)
    return dict(Counter(event.name for event in events if event.name not in ("job:progress", "job:output")))


def once(view: JobView, taken: int = 1) -> dict[str, int]:
    """The events of a job that ended once, having been taken by so many workers."""
    return {"job:queued": taken, "job:started": taken, f"job:{view.status}": 1}


def assert_written_once(settings: Settings, document_ids: Sequence[str]) -> None:
    """A row and a stored object for each document, and each of its passages once."""
    with databases.connect(settings).read() as session:
        documents = {row.id: row for row in rows.several(session, Document, select(DOCUMENTS))}
        uploads = Counter(session.scalars(select(UPLOADS.c.document_id)))
        passages = session.execute(select(PASSAGES.c.document_id, PASSAGES.c.ordinal)).all()
    assert sorted(documents) == sorted(document_ids)
    assert uploads == Counter(document_ids)
    stored = {each.key for each in storage.connect(settings).list("uploads/")}
    assert stored == {document.storage_key for document in documents.values()}
    assert len({document.storage_key for document in documents.values()}) == len(documents)
    expected = [(id_, ordinal) for id_, document in documents.items() for ordinal in range(document.passages)]
    assert sorted(map(tuple, passages)) == sorted(expected)


def assert_all_ended(fleet: Fleet, jobs: int) -> None:
    """Nothing waits, is leased or is quarantined, and so many jobs have ended, not one more."""
    ended = [fleet.redis.zcard(keys.registry(kind, "default")) for kind in ("finished", "failed")]
    assert sum(ended) == jobs
    assert [fleet.redis.llen(keys.queue(name)) for name in ("critical", "default", "low")] == [0, 0, 0]
    assert fleet.redis.keys(f"{keys.FLEET}:inbox:*") == []
    assert (fleet.redis.zcard(keys.LEASES), fleet.redis.zcard(keys.QUARANTINE)) == (0, 0)


def searched(site: Site, words: Sequence[str]) -> Iterator[tuple[str, set[str]]]:
    """Each word with the documents that hold it, asked by several clients at once."""
    shares = [words[start::CLIENTS] for start in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        for share, holders in zip(shares, clients.map(site.holders, shares), strict=True):
            yield from zip(share, holders, strict=True)
