"""Posted files on their way into storage: each streamed once, measured, hashed, and refused on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flask import Request
from sqlalchemy import delete, insert

from jobs.adapters.database import Database
from jobs.adapters.database.models import UPLOADS, new_id
from jobs.adapters.storage import Storage, TooLarge
from jobs.domains.documents.service import display_name, new_storage_key
from jobs.settings import Settings
from webapp.errors import Problem
from webapp.multipart import Part, parts_of

FIELD = "files"
SKIPPED_FILES = 10  # so many times UPLOAD_MAX_BYTES are read past in one request for the sake of the files that follow

V = TypeVar("V", bound=Callable[..., object])


@dataclass(frozen=True)
class Received:
    """A posted file: stored under `key`, or refused with `error`; `name` is fit to be shown."""

    name: str
    key: str = ""
    upload_id: str = ""
    size: int = 0
    sha256: str = ""
    error: str | None = None


class Receiver:
    """Stores the files of one request; `discard` forgets them again."""

    def __init__(self, settings: Settings, database: Database, storage: Storage, tenant: str) -> None:
        self._settings, self._database, self._storage, self._tenant = settings, database, storage, tenant

    def receive(self, request: Request) -> list[Received]:
        """Every file of the request, in its order; the stored ones are Upload rows without a document yet.

        Raises a problem, and keeps nothing, for a body that can't be read to its end or holds no file.
        """
        received: list[Received] = []
        try:
            for part in self._files(request):
                received.append(self._receive(part))
        except BaseException:
            self.discard(received)
            raise
        if not received:
            raise Problem(422, f"Send at least one file in the field {FIELD}.")
        return received

    def discard(self, received: Sequence[Received]) -> None:
        """Delete what was stored of `received`."""
        for file in received:
            if file.key:
                self._forget(file)

    def _files(self, request: Request) -> Iterator[Part]:
        most = self._settings.upload_max_files
        parts = parts_of(request, limit=most, skip=SKIPPED_FILES * self._settings.upload_max_bytes)
        return (part for part in parts if part.filename is not None)

    def _receive(self, part: Part) -> Received:
        file = Received(display_name(part.filename or ""))
        if part.field != FIELD:
            return replace(file, error=f"Send files in the field {FIELD}.")
        if not part.filename:
            return replace(file, error="The file has no name.")
        return self._store(part, file)

    def _store(self, part: Part, file: Received) -> Received:
        """Write the row first, so that an object of a process that dies here is found and swept away.

        A machine that dies may lose the row; then the object is in no row, and swept away for that.
        """
        file = replace(file, key=new_storage_key(), upload_id=new_id())
        with self._database.begin(durable=False) as session:
            row = {"id": file.upload_id, "tenant": self._tenant, "storage_key": file.key, "size": 0}
            session.execute(insert(UPLOADS), row)
        try:
            stored = self._storage.write(file.key, part.chunks, limit=self._settings.upload_max_bytes)
        except TooLarge:
            return self._refuse(file, f"The file is larger than {_megabytes(self._settings.upload_max_bytes)}.")
        except BaseException:
            self._forget(file)
            raise
        if stored.size == 0:
            return self._refuse(file, "The file is empty.")
        return replace(file, size=stored.size, sha256=stored.sha256)

    def _refuse(self, file: Received, why: str) -> Received:
        self._forget(file)
        return Received(file.name, error=why)

    def _forget(self, file: Received) -> None:
        self._storage.delete(file.key)
        with self._database.begin(durable=False) as session:
            session.execute(delete(UPLOADS).where(UPLOADS.c.id == file.upload_id))


def takes_upload(view: V) -> V:
    """Mark a route for OpenAPI: its body is multipart/form-data with the field `files`."""
    view.takes_upload = True  # type: ignore[attr-defined]
    return view


def fingerprint_of(slug: str, received: Sequence[Received]) -> str:
    """What makes two uploads the same request: workspace, names and contents, in order; sha256 in hexadecimal."""
    digest = hashlib.sha256(slug.encode())
    for file in received:
        digest.update(f"\0{file.name}\0{file.sha256}\0{file.error or ''}".encode())
    return digest.hexdigest()


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MB" if size >= 1024 * 1024 else f"{size} bytes"
