"""The audit log over both databases: what is kept, found, masked, forgotten, and what happens while a part is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from jobs.engine import Fleet, InvalidPayload, connect, keys
from jobs.engine.audit_log import Actor, later
from jobs.engine.audit_log.lines import LONGEST_STATE, line_of, values_of
from jobs.engine.audit_log.records import Record
from jobs.engine.audit_log.table import LINES
from jobs.settings import Settings

ADA = Actor("ada", "operator", None, "page")
BEN = Actor("ben", "admin", "acme", "api")


def record(fleet: Fleet, number: int, by: Actor = ADA, **more: Any) -> str:
    return fleet.audit.record(action="job.cancel", target=f"job-{number}", by=by, **more).id


def found(fleet: Fleet, **wanted: Any) -> list[str]:
    return [line.target for line in fleet.audit.search(**wanted).items]


def test_a_line_tells_who_did_what_to_what_from_where(fleet: Fleet) -> None:
    began = datetime.now(UTC)
    record(fleet, 1, BEN, before={"status": "queued"}, after={"status": "cancelled", "umlaut": "größer"})
    (line,) = fleet.audit.search().items
    assert (line.subject, line.role, line.tenant, line.how) == ("ben", "admin", "acme", "api")
    assert (line.action, line.target) == ("job.cancel", "job-1")
    assert (line.before, line.after) == ({"status": "queued"}, {"status": "cancelled", "umlaut": "größer"})
    assert began <= line.at <= datetime.now(UTC)


def test_lines_come_newest_first_page_by_page(fleet: Fleet) -> None:
    for number in range(7):
        record(fleet, number)
    pages, cursor = [], None
    while True:
        page = fleet.audit.search(limit=3, cursor=cursor)
        pages.append([line.target for line in page.items])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert pages == [["job-6", "job-5", "job-4"], ["job-3", "job-2", "job-1"], ["job-0"]]


def test_lines_of_one_moment_are_each_found_once(fleet: Fleet) -> None:
    for number in range(5):
        record(fleet, number)
    with fleet.database.begin() as session:
        session.execute(update(LINES).values(at=datetime(2026, 1, 1, tzinfo=UTC)))
    first = fleet.audit.search(limit=2)
    second = fleet.audit.search(limit=9, cursor=first.next_cursor)
    assert [line.target for line in (*first.items, *second.items)] == ["job-4", "job-3", "job-2", "job-1", "job-0"]


@pytest.mark.parametrize("cursor", ["x", "1", "-1-1", "9" * 18 + "-1", "1-1\n", "²-1"])
def test_a_cursor_that_is_none_is_refused(fleet: Fleet, cursor: str) -> None:
    with pytest.raises(InvalidPayload):
        fleet.audit.search(cursor=cursor)


def test_a_search_takes_what_all_of_it_holds_for(fleet: Fleet) -> None:
    record(fleet, 1)
    record(fleet, 2, BEN, after={"note": "100% sure"})
    fleet.audit.record(action="queue.pause", target="default", by=Actor("shell:eve", "admin", None, "shell"))
    assert found(fleet, tenant="acme") == found(fleet, subject="ben") == found(fleet, text="100%") == ["job-2"]
    assert found(fleet, action="job.") == ["job-2", "job-1"]
    assert found(fleet, how="shell") == found(fleet, target="DEFAULT") == ["default"]
    assert found(fleet, role="operator") == ["job-1"]
    assert found(fleet, subject="ben", action="queue.") == found(fleet, target="%") == []
    assert found(fleet, since=datetime.now(UTC)) == found(fleet, until=datetime.now(UTC) - timedelta(hours=1)) == []


@pytest.mark.usefixtures("whatever_database")
def test_a_search_for_parts_of_texts_goes_on_where_a_page_stopped_looking(fleet: Fleet) -> None:
    with fleet.database.begin() as session:
        lines = [
            values_of(line_of("job.cancel", f"job-{number:05}", ADA, None, None, None)) for number in range(30_000)
        ]
        session.execute(insert(LINES), lines)
    first = fleet.audit.search(target="job-000")
    assert first.items == [] and first.next_cursor is not None
    second = fleet.audit.search(target="job-000", cursor=first.next_cursor, limit=1000)
    assert (len(second.items), second.next_cursor) == (100, None)
    assert found(fleet, target="job-29999") == ["job-29999"]


def test_a_tenants_line_is_whose_thing_it_was(fleet: Fleet) -> None:
    record(fleet, 1, tenant="acme")
    record(fleet, 2, BEN, tenant="other")
    record(fleet, 3)
    assert found(fleet, tenant="acme") == ["job-2", "job-1"]
    assert found(fleet, tenant="other") == []


def test_credentials_are_struck_out(fleet: Fleet) -> None:
    secret = "hunter2hunter2"
    record(fleet, 1, before={"password": secret, "deep": [{"api_key": secret}], "url": f"redis://u:{secret}@host"})
    fleet.audit.record(action="x", target=f"error~token={secret}", by=ADA, after={"text": f"Bearer {secret * 2}"})
    assert secret not in fleet.audit.search().model_dump_json()


def test_what_no_database_holds_is_kept_as_well_as_can_be(fleet: Fleet) -> None:
    odd = Actor("a\0b\ud800", "operator", None, "api")
    fleet.audit.record(
        action="x" * 500, target="\0" * 5000, by=odd, before={"\0": "\ud800"}, after={"a": object()}, tenant="t\0\ud800"
    )
    fleet.audit.record(action="big", target="t", by=ADA, after={str(n): "x" * 1000 for n in range(100)})
    big, strange = fleet.audit.search().items
    assert "too_long" in big.after and len(str(big.after)) < LONGEST_STATE
    assert (len(strange.action), len(strange.target), strange.subject) == (100, 2000, "a\ufffdb?")


def test_while_the_database_is_away_lines_wait_in_redis_and_are_stored_once(
    fleet: Fleet, without_tables: Fleet
) -> None:
    record(fleet, 1)
    for number in range(2, 5):
        record(without_tables, number)
    assert fleet.redis.llen(keys.AUDIT_LATER) == 3
    copy = fleet.redis.lrange(keys.AUDIT_LATER, 0, -1)
    assert found(fleet) == ["job-4", "job-3", "job-2", "job-1"]
    assert fleet.redis.llen(keys.AUDIT_LATER) == 0
    fleet.redis.rpush(keys.AUDIT_LATER, *copy, b"no line")
    assert found(fleet) == ["job-4", "job-3", "job-2", "job-1"]
    assert fleet.redis.llen(keys.AUDIT_LATER) == 0


@pytest.mark.usefixtures("whatever_database")
@pytest.mark.parametrize("change", [(b'"ada"', b'"eve"'), (b" {", b" [{"), (b"a", b"b"), (b" ", b"")])
def test_a_line_that_somebody_else_put_there_is_not_believed(
    fleet: Fleet, without_tables: Fleet, change: tuple[bytes, bytes]
) -> None:
    record(without_tables, 1)
    [line] = fleet.redis.lrange(keys.AUDIT_LATER, 0, -1)
    fleet.redis.rpush(keys.AUDIT_LATER, line.replace(*change))
    assert found(fleet, subject="ada") == ["job-1"]
    assert found(fleet, subject="eve") == []
    assert fleet.redis.llen(keys.AUDIT_LATER) == 0


def test_what_waits_is_bounded(fleet: Fleet, without_tables: Fleet) -> None:
    fleet.redis.rpush(keys.AUDIT_LATER, *(b"x" for _ in range(later.MOST)))
    record(without_tables, 1)
    assert fleet.redis.llen(keys.AUDIT_LATER) == later.MOST


def test_with_both_away_nothing_is_raised(settings: Settings) -> None:
    nowhere = {"database_url": "postgresql+psycopg://127.0.0.1:9/none", "redis_url": "redis://127.0.0.1:9/0"}
    fleet = connect(settings.model_copy(update=nowhere))
    record(fleet, 1)
    fleet.close()


def test_lines_are_forgotten_by_age_and_by_number(fleet: Fleet) -> None:
    ids = [record(fleet, number) for number in range(6)]
    with fleet.database.begin() as session:
        old = datetime.now(UTC) - timedelta(days=3)
        session.execute(update(LINES).where(LINES.c.id.in_(ids[:2])).values(at=old))
    assert fleet.audit.forget(timedelta(days=2), most=100) == 2
    assert fleet.audit.forget(timedelta(days=2), most=3) == 1
    assert found(fleet) == ["job-5", "job-4", "job-3"]
    assert fleet.audit.forget(timedelta(days=2), most=3) == 0


def test_refused_sign_ins_push_out_no_line_that_waits_of_who_is_signed_in(fleet: Fleet, without_tables: Fleet) -> None:
    record(without_tables, 1)
    nobody = Actor("(no account)", "none", None, "page")
    for number in range(later.MOST + 1):
        kept = line_of("sign-in.locked-out", f"address {number}", nobody, None, None, None)
        later.keep(without_tables, Record(line=kept, is_counted=True))
    assert fleet.redis.llen(keys.AUDIT_REFUSED_LATER) == later.MOST_REFUSED
    assert found(fleet, action="job.") == ["job-1"]
    assert found(fleet, action="sign-in.", limit=2) == [f"address {later.MOST}", f"address {later.MOST - 1}"]
