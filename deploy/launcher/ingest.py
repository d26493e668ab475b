"""Uploading files and following each one's job to its end over the live events, with a look at the job in between."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from deploy.launcher.site import Refused, Site
from deploy.launcher.transfer import Transfer

LOOK_EVERY = 2.0
TICK = 0.1


def process(
    site: Site, files: Sequence[Path], *, following: Callable[[list[Transfer]], Any], alive: Callable[[], None]
) -> list[Transfer]:
    """Upload `files` and wait until each has ended.

    `following` makes the context manager that shows the transfers; `alive` raises when there is no use in waiting.
    """
    transfers = [Transfer(path) for path in files]
    events = _Events(site)
    uploads = threading.Thread(target=_upload_all, args=(site, transfers), name="uploads", daemon=True)
    with following(transfers) as display:
        uploads.start()
        look_at = time.monotonic() + LOOK_EVERY
        while not all(transfer.ended for transfer in transfers):
            alive()
            events.deliver(transfers)
            if time.monotonic() > look_at:
                _look(site, transfers)
                look_at = time.monotonic() + LOOK_EVERY
            display.show()
    events.close()
    _complete(site, transfers)
    return transfers


class _Events:
    """The workspace's live events, kept until the upload's answer has told whose job they are of."""

    def __init__(self, site: Site) -> None:
        self._site, self._closed = site, False
        self._queue: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._early: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        threading.Thread(target=self._listen, name="events", daemon=True).start()
        with contextlib.suppress(queue.Empty):
            self._queue.get(timeout=5)

    def close(self) -> None:
        """Leave at the next sign of life."""
        self._closed = True

    def deliver(self, transfers: Sequence[Transfer]) -> None:
        """Wait a moment for events and give each to the transfer of its job."""
        with contextlib.suppress(queue.Empty):
            self._keep(*self._queue.get(timeout=TICK))
            while True:
                self._keep(*self._queue.get_nowait())
        for transfer in transfers:
            for event, data in self._early.pop(transfer.job_id or "", ()):
                transfer.happened(event, data)

    def _keep(self, event: str, data: dict[str, Any]) -> None:
        if "job_id" in data:
            self._early.setdefault(str(data["job_id"]), []).append((event, data))

    def _listen(self) -> None:
        with contextlib.suppress(httpx2.HTTPError, httpx2.StreamError, ValueError):
            for event in self._site.events():
                if self._closed:
                    return
                self._queue.put(event)


def _upload_all(site: Site, transfers: Sequence[Transfer]) -> None:
    for transfer in transfers:
        try:
            _upload(site, transfer)
        except (Refused, httpx2.HTTPError) as error:
            transfer.end("failed", str(error) or type(error).__name__)
        except OSError as error:
            transfer.end("failed", f"it can't be read: {error.strerror or error}")


def _upload(site: Site, transfer: Transfer) -> None:
    transfer.began = time.monotonic()
    size, sent = transfer.path.stat().st_size, 0

    def on_bytes(count: int) -> None:
        nonlocal sent
        sent += count
        transfer.uploading(sent, size)

    transfer.accepted(site.upload(transfer.path, on_bytes))


def _look(site: Site, transfers: Sequence[Transfer]) -> None:
    """Ask for each job that has not ended, in case its events were lost on the way."""
    for transfer in transfers:
        if transfer.job_id and not transfer.ended:
            with contextlib.suppress(Refused, httpx2.HTTPError):
                transfer.seen(site.job(transfer.job_id))


def _complete(site: Site, transfers: Sequence[Transfer]) -> None:
    """Fetch the results that events do not carry."""
    for transfer in transfers:
        if transfer.job_id and transfer.completed:
            with contextlib.suppress(Refused, httpx2.HTTPError):
                transfer.seen(site.job(transfer.job_id))
