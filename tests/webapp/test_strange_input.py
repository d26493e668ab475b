"""Values that are well-formed in a way but make no sense: each is an answer below 500."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.settings import Settings
from tests.webapp.conftest import Header
from tests.webapp.live_server import GUARD, serving
from webapp.auth import SCOPES, make_token

Post = Callable[..., list[dict[str, Any]]]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


@pytest.fixture
def base(app: APIFlask) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", "//", "http://"])
def test_an_origin_that_is_no_address_is_another_origin(client: FlaskClient, origin: str) -> None:
    assert client.post("/admin/login", headers={"Origin": origin}, data={"csrf_token": "x"}).status_code == 403


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Sec-WebSocket-Version": "12"}, 426),
        ({"Sec-WebSocket-Version": None}, 426),
        ({"Sec-WebSocket-Key": "x"}, 400),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Transfer-Encoding": "gzip"}, 400),
    ],
    ids=str,
)
def test_a_handshake_that_is_none_is_refused(
    base: str, us: Header, changes: dict[str, str | None], status: int
) -> None:
    headers = {name: value for name, value in (us | UPGRADE | changes).items() if value is not None}
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=GUARD)
    with closing(connection):
        connection.request("GET", "/api/ws", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert status != 426 or answer.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize("after", ["9" * 20, "9" * 19, "1-" + "9" * 20])
def test_a_log_position_that_redis_can_not_hold_is_422(
    client: FlaskClient, us: Header, upload: Post, after: str
) -> None:
    path = f"/api/jobs/{upload(('a.txt', b'words'))[0]['job_id']}/log"
    assert client.get(path, query_string={"after": after}, headers=us).status_code == 422


@pytest.mark.parametrize(
    "cursor",
    [
        '["0001-01-01T00:00:00+23:59", "' + "0" * 32 + '"]',
        '["9999-12-31T23:59:59-23:59", "' + "0" * 32 + '"]',
        '["2024-01-01T00:00:00+00:00", "\\ud800"]',
        '["2024-01-01T00:00:00+00:00", "\\u0000"]',
        '["2024-01-01T00:00:00+00:00", 7]',
        '["2024-01-01T00:00:00", "' + "0" * 32 + '"]',
    ],
)
def test_a_cursor_that_is_none_of_ours_is_422(client: FlaskClient, us: Header, workspace: str, cursor: str) -> None:
    encoded = base64.urlsafe_b64encode(cursor.encode()).decode()
    answer = client.get(f"/api/workspace/{workspace}/documents", query_string={"cursor": encoded}, headers=us)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "exp", [int(datetime.now(UTC).timestamp() * 1000), 10**18, float("inf")], ids=["milliseconds", "huge", "inf"]
)
def test_a_token_whose_end_is_no_time_in_seconds_is_401(client: FlaskClient, settings: Settings, exp: float) -> None:
    headers = {"Authorization": f"Bearer {make_token(settings, 'ours', SCOPES, exp=exp)}"}
    assert client.get("/api/workspaces", headers=headers).status_code == 401
    assert client.post("/api/ws/ticket", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "asked", [{"since": "0001-01-01T00:00:00+14:00"}, {"until": "9999-12-31T23:59:59-12:00"}], ids=["since", "until"]
)
def test_a_time_that_utc_has_no_year_for_is_422(admin: FlaskClient, asked: dict[str, str]) -> None:
    pages = ("jobs", "dead-letters", "audit", "api/jobs", "api/dead-letters", "api/dead-letters/groups", "api/audit")
    for path in pages:
        assert admin.get(f"/admin/queues/{path}", query_string=asked).status_code == 422, path


@pytest.mark.parametrize("asked", ["api/counts?tenant=", "api/audit?tenant=", "api/audit?target=", "audit?text="])
@pytest.mark.parametrize("odd", ["%00", "a%00", "%1b[31m"])
def test_control_characters_in_what_operators_look_for_are_422(admin: FlaskClient, asked: str, odd: str) -> None:
    assert admin.get(f"/admin/queues/{asked}{odd}").status_code == 422
