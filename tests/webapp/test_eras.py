"""A session that ended because its account changed never lives again, whichever process saw that, over restarts too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from jobs.engine import keys
from jobs.settings import Settings
from tests.webapp.conftest import BOTH_WAYS
from tests.webapp.operators import Header, enter, hash_of
from webapp import create_app

QUEUES = "/admin/queues/api/jobs"
Start = Callable[[], APIFlask]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "operators.txt"
    write(path, fay="operator", gus="viewer")
    return path


@pytest.fixture
def environ(environ: Header, file: Path) -> Header:
    return environ | {"OPERATORS_FILE": str(file)}


@pytest.fixture
def start(settings: Settings, tables: None) -> Iterator[Start]:
    """One more process of the same site."""
    apps: list[APIFlask] = []

    def start() -> APIFlask:
        apps.append(create_app(settings))
        return apps[-1]

    yield start
    for app in apps:
        app.extensions["fleet"].close()


def write(path: Path, **roles: str) -> None:
    path.write_text("".join(f"{name}:{role}:{hash_of()}\n" for name, role in roles.items()))


def moved(client: FlaskClient, app: APIFlask) -> FlaskClient:
    """The same browser at another process."""
    cookie, other = client.get_cookie("session"), app.test_client()
    assert cookie is not None
    other.set_cookie("session", cookie.value)
    return other


@BOTH_WAYS
@pytest.mark.parametrize("meanwhile", [{"fay": "viewer", "gus": "viewer"}, {"gus": "viewer"}])
def test_it_stays_ended_though_the_account_is_put_back(start: Start, file: Path, meanwhile: dict[str, str]) -> None:
    app = start()
    fay, gus = enter(app, "fay"), enter(app, "gus")
    write(file, **meanwhile)
    assert fay.get(QUEUES).status_code == 401
    write(file, fay="operator", gus="viewer")
    assert fay.get(QUEUES).status_code == 401
    assert gus.get(QUEUES).status_code == 200, "nobody else's ends"
    assert enter(app, "fay").get(QUEUES).status_code == 200


@BOTH_WAYS
def test_one_that_was_not_used_meanwhile_ends_too_if_anybody_else_was_there(start: Start, file: Path) -> None:
    app = start()
    fay, gus = enter(app, "fay"), enter(app, "gus")
    write(file, fay="viewer", gus="viewer")
    assert gus.get(QUEUES).status_code == 200
    write(file, fay="operator", gus="viewer")
    assert fay.get(QUEUES).status_code == 401


def test_what_one_process_saw_holds_in_all_others_and_after_a_restart(start: Start, file: Path) -> None:
    first, second = start(), start()
    fay, gus = enter(first, "fay"), enter(second, "gus")
    write(file, fay="viewer", gus="viewer")
    assert gus.get(QUEUES).status_code == 200
    write(file, fay="operator", gus="viewer")
    for app in (first, second, start()):
        assert moved(fay, app).get(QUEUES).status_code == 401
        assert moved(gus, app).get(QUEUES).status_code == 200


def test_sessions_outlive_a_restart_and_a_redis_that_was_wiped(start: Start, file: Path) -> None:
    first = start()
    fay = enter(first, "fay")
    redis = first.extensions["fleet"].redis
    assert redis.ttl(f"{keys.PREFIX}:web:accounts:eras") > 12 * 3600
    redis.flushdb()
    assert moved(fay, start()).get(QUEUES).status_code == 200


def test_sessions_outlive_a_redis_that_was_wiped_long_after_the_last_change(start: Start, file: Path) -> None:
    app = start()
    enter(app, "gus")
    app.extensions["fleet"].lasting_notes.forget("accounts:eras")  # as it is 13 hours later
    fay = enter(app, "fay")
    app.extensions["fleet"].redis.flushdb()
    assert fay.get(QUEUES).status_code == 200


def test_nonsense_in_its_note_ends_sessions_and_lets_new_ones_begin(start: Start) -> None:
    app = start()
    fay = enter(app, "fay")
    for nonsense in (b"[1]", b"{", b'{"fay": 1}', b"\xff"):
        app.extensions["fleet"].redis.set(f"{keys.PREFIX}:web:accounts:eras", nonsense)
        assert fay.get(QUEUES).status_code == 401
        fay = enter(app, "fay")
        assert fay.get(QUEUES).status_code == 200


@BOTH_WAYS
def test_processes_that_see_a_change_at_once_begin_the_same_era(start: Start, file: Path) -> None:
    processes = [start().extensions for _ in range(4)]

    def sign_in(process: dict[str, Any]) -> str:
        account = process["accounts"].named("fay")
        meet.wait(20)
        return str(process["eras"].begin(account))

    for role in ("operator", "viewer", "operator", "admin", "operator"):
        write(file, fay=role, gus="viewer")
        meet = Barrier(len(processes))
        with ThreadPoolExecutor(len(processes)) as pool:
            words = list(pool.map(sign_in, processes))
        assert [processes[0]["eras"].has("fay", word) for word in words] == [True] * len(processes)


def test_an_account_that_comes_and_goes_begins_another_era_each_time(start: Start, file: Path) -> None:
    process, words = start().extensions, []
    for _ in range(3):
        write(file, fay="operator", gus="viewer")
        words.append(process["eras"].begin(process["accounts"].named("fay")))
        write(file, gus="viewer")
        process["eras"].notice()
    assert len(set(words)) == len(words)
