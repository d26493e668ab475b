"""While Redis is slow, requests keep the database for nobody else."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import update

from jobs.adapters.database.models import DOCUMENTS
from jobs.engine import connect
from jobs.settings import Settings

Header = dict[str, str]


@pytest.fixture
def hanging_up(app: APIFlask) -> Iterator[tuple[int, list[int]]]:
    """The port of a server that hangs up, and how many of the database's connections were in use each time."""
    counts: list[int] = []

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if self.request.recv(1):
                counts.append(app.extensions["database"].engine.pool.checkedout())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangUp) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], counts
        server.shutdown()
        thread.join()


def test_no_connection_to_the_database_is_held_while_redis_is_asked(
    app: APIFlask,
    client: FlaskClient,
    settings: Settings,
    us: Header,
    upload: Callable[..., list[dict[str, Any]]],
    hanging_up: tuple[int, list[int]],
) -> None:
    [document] = upload(("a.md", b"The Lena flows."))
    with app.extensions["database"].begin() as session:
        session.execute(update(DOCUMENTS).values(updated_at=datetime.now(UTC) - timedelta(hours=1)))
    port, held = hanging_up
    elsewhere = connect(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"}))
    assert client.get("/api/workspace/papers/documents", headers=us).status_code == 200
    seen = len(held)
    assert client.get(f"/api/workspace/papers/documents/{document['id']}", headers=us).status_code == 200
    assert len(held) > seen > 0
    assert set(held) == {0}
    elsewhere.close()
