"""Readiness names the part that does not work, with the code that a cluster understands."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient


@pytest.fixture
def unwritable(tmp_path: Path) -> None:
    """Something else lies where the storage's folder should be."""
    shutil.rmtree(tmp_path / "storage", ignore_errors=True)
    (tmp_path / "storage").touch()


def test_a_part_that_does_not_work_makes_it_unready_and_is_named(client: FlaskClient, unwritable: None) -> None:
    ready = client.get("/readyz")
    found = ready.get_json()
    assert (ready.status_code, ready.headers["Retry-After"], found["status"]) == (503, "5", "unavailable")
    assert {name: found["checks"][name] for name in ("redis", "database", "storage")} == {
        "redis": "ok",
        "database": "ok",
        "storage": "failed",
    }
    assert client.get("/readyz?exclude=storage").status_code == 200
    assert client.get("/readyz?exclude=redis").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_the_health_document_has_the_shape_that_is_agreed(client: FlaskClient) -> None:
    health = client.get("/api/health").get_json()
    assert health.keys() == {"status", "timestamp", "jobQueue", "workers", "schedulers"}
    assert health["jobQueue"] == {"enabled": True, "redis": True}
    assert abs(datetime.fromisoformat(health["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=5)
