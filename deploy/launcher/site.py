"""The running page's HTTP API, as the launcher uses it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2

from jobs.settings import Settings

WORKSPACE = "default"
TENANT = "dev"
SCOPES = ["documents:read", "documents:write", "jobs:read"]
TOKEN_LIFETIME = timedelta(hours=12)


class Refused(Exception):
    """The API said no; the message is its reason."""


class Site:
    """A client signed in as the development user's tenant."""

    def __init__(self, port: int, settings: Settings) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._settings, self._headers = settings, _sign_in(settings)
        self._client = httpx2.Client(base_url=self.url, headers=self._headers, timeout=60, trust_env=False)

    def close(self) -> None:
        """Close the connections but that of `events`, which the page ends."""
        self._client.close()

    def not_ready(self) -> str | None:
        """None when requests can be served, otherwise the reason why not."""
        try:
            answer = self._client.get("/readyz", timeout=5)
        except httpx2.HTTPError as error:
            return str(error) or type(error).__name__
        if answer.headers.get("X-Instance-Id") != self._settings.instance_id:
            return "another program answers at this port"
        return None if answer.status_code == 200 else answer.text

    def sign_in_link(self) -> str:
        """An address that signs a browser in, once, within five minutes; in production only the page's."""
        if self._settings.production:
            return self.url
        from webapp.sessions import make_ticket

        return f"{self.url}/dev/sign-in?ticket={make_ticket(self._settings)}"

    def make_workspace(self) -> None:
        """Make the workspace that files go to, unless it exists. Raises Refused."""
        answer = self._client.post("/api/workspaces", json={"slug": WORKSPACE, "name": "Default"})
        if answer.status_code != 409:
            _checked(answer)

    def has_documents(self) -> bool:
        """Whether anything was ever uploaded."""
        return bool(_checked(self._client.get(f"/api/workspace/{WORKSPACE}/documents?limit=1"))["items"])

    def upload(self, path: Path, on_bytes: Callable[[int], None]) -> dict[str, Any]:
        """Post one file, telling `on_bytes` of each piece sent; the answer's entry for it. Raises Refused, OSError."""
        with _Watched(path, on_bytes) as file:
            answer = self._client.post(f"/api/workspace/{WORKSPACE}/upload", files={"files": (path.name, file)})
        document: dict[str, Any] = _documents_of(answer)[0]
        return document

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now. Raises Refused."""
        return _checked(self._client.get(f"/api/jobs/{job_id}"))

    def search(self, question: str) -> list[dict[str, Any]]:
        """The best passages for `question`. Raises Refused."""
        answer = self._client.get(f"/api/workspace/{WORKSPACE}/search", params={"q": question, "limit": 3})
        hits: list[dict[str, Any]] = _checked(answer)["hits"]
        return hits

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (name, data) of all that happens in the workspace from now on, ("comment", {}) first and now and then.

        Raises httpx2.HTTPError when the connection is lost.
        """
        address = f"{self.url}/api/workspace/{WORKSPACE}/events"
        timeout = httpx2.Timeout(60, read=None)
        with httpx2.stream("GET", address, headers=self._headers, timeout=timeout, trust_env=False) as answer:
            answer.raise_for_status()
            yield from _events_of(answer.iter_lines())


class _Watched(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size) or b""
        self._on_bytes(len(piece))
        return piece


def _sign_in(settings: Settings) -> dict[str, str]:
    from webapp.auth import make_token

    token = make_token(settings, TENANT, SCOPES, subject="developer", ttl=TOKEN_LIFETIME)
    return {"Authorization": f"Bearer {token}"}


def _events_of(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name, data = "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        if line.startswith(":"):
            yield "comment", {}
        elif field == "event":
            name = value.strip()
        elif field == "data":
            data += value
        elif not line and data:
            body = json.loads(data)
            yield name, body.get("data", body)
            name, data = "message", ""


def _documents_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    body = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
    documents: list[dict[str, Any]] = body.get("documents") or []
    return documents or [_checked(answer)]


def _checked(answer: httpx2.Response) -> dict[str, Any]:
    """The body of a good answer. Raises Refused with the problem's own words for any other."""
    try:
        body: dict[str, Any] = answer.json()
    except ValueError:
        body = {}
    if answer.is_success:
        return body
    raise Refused(body.get("detail") or f"the page answered {answer.status_code}")
