"""Lines of the audit log about many jobs: which they were, whose, who finds them, and how long they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from jobs.engine import Fleet, NotFound, keys
from jobs.engine.audit_log import Actor, bounds, later
from jobs.engine.audit_log.table import JOBS, LINES
from jobs.engine.changes import Change

ADA = Actor("ada", "operator", None, "page")
BEN = Actor("ben", "operator", "acme", "api")
MANY = [
    Change("a-1", "acme", "queued", "cancelled"),
    Change("b-1", "best", "queued", "cancelled"),
    Change("a-2", "acme", "started", "stopping"),
    Change("n-1", "", "queued", "cancelled"),
]


def cancelled(fleet: Fleet, by: Actor = ADA, jobs: list[Change] = MANY) -> str:
    about = {"target": "jobs: text=b-1", "to_tenants": "jobs: all"}
    return fleet.audit.record(action="job.cancel", by=by, after={"done": len(jobs)}, jobs=jobs, **about).id


def ids(fleet: Fleet, line: str, tenant: str | None = None) -> list[str]:
    return [job.id for job in fleet.audit.jobs(line, tenant).items]


def test_a_line_about_many_jobs_says_how_they_were_and_are_and_lists_each(fleet: Fleet) -> None:
    cancelled(fleet)
    (line,) = fleet.audit.search().items
    assert (line.jobs, line.before) == (4, {"jobs": {"queued": 3, "started": 1}})
    assert line.after == {"done": 4, "jobs": {"cancelled": 3, "stopping": 1}}
    first = fleet.audit.jobs(line.id, limit=3)
    second = fleet.audit.jobs(line.id, limit=3, after=first.next_after or 0)
    assert [Change(**job.model_dump()) for job in (*first.items, *second.items)] == MANY
    assert second.next_after is None
    with pytest.raises(NotFound):
        fleet.audit.jobs("nothing")


def test_each_tenant_sees_its_own_part_of_it_and_no_other(fleet: Fleet) -> None:
    whole = cancelled(fleet)
    (part,) = fleet.audit.search(tenant="acme").items
    assert (part.target, part.subject, part.tenant, part.jobs) == ("jobs: all", "ada", "acme", 2)
    assert part.before == {"jobs": {"queued": 1, "started": 1}}
    assert part.after == {"done": 2, "jobs": {"cancelled": 1, "stopping": 1}}
    assert ids(fleet, part.id, "acme") == ids(fleet, part.id) == ["a-1", "a-2"]
    for tenant, line in (("acme", whole), ("best", part.id), ("other", part.id)):
        with pytest.raises(NotFound):
            fleet.audit.jobs(line, tenant)
        with pytest.raises(NotFound):
            fleet.audit.get(line, tenant)
    assert fleet.audit.search(tenant="other").items == []


def test_who_acts_for_one_tenant_leaves_one_line_of_that_tenant(fleet: Fleet) -> None:
    line = cancelled(fleet, BEN, [each for each in MANY if each.tenant == "acme"])
    assert [each.id for each in fleet.audit.search().items] == [line]
    assert [each.id for each in fleet.audit.search(tenant="acme").items] == [line]


@pytest.mark.parametrize("asked", ["target", "text"])
def test_it_is_found_by_the_id_of_each_job_by_whoever_may_see_that(fleet: Fleet, asked: str) -> None:
    whole = cancelled(fleet)

    def found(job_id: str, tenant: str | None = None) -> list[str]:
        page = fleet.audit.search(**{asked: job_id, "tenant": tenant})  # type: ignore[arg-type]
        return [line.id for line in page.items]

    for job_id in ("a-1", "a-2", "b-1", "n-1"):
        assert found(job_id) == [whole]
    assert len(found("a-1", "acme")) == len(found("b-1", "best")) == 1
    assert found("b-1", "acme") == found("a-1", "best") == found("n-1", "acme") == found("a-") == []


def test_while_the_database_is_away_its_jobs_wait_with_it_and_are_stored_once(
    fleet: Fleet, without_tables: Fleet
) -> None:
    line = cancelled(without_tables)
    copies = {key: fleet.redis.lrange(key, 0, -1) for key in (keys.AUDIT_LATER, keys.AUDIT_JOBS_LATER)}
    for _ in range(2):
        assert [each.id for each in fleet.audit.search().items] == [line]
        assert ids(fleet, line) == ["a-1", "b-1", "a-2", "n-1"]
        assert len(fleet.audit.search(tenant="acme").items) == 1
        assert not fleet.redis.exists(*copies)
        for key, lines in copies.items():
            fleet.redis.rpush(key, *lines)


def test_of_lines_with_jobs_that_wait_there_are_few(fleet: Fleet, without_tables: Fleet) -> None:
    for _ in range(later.MOST_WITH_JOBS + 2):
        cancelled(without_tables)
    assert fleet.redis.llen(keys.AUDIT_JOBS_LATER) == later.MOST_WITH_JOBS
    assert len(fleet.audit.search(limit=100).items) == later.MOST_WITH_JOBS + 2


def test_its_parts_and_jobs_are_forgotten_with_it_and_are_no_lines_of_their_own(fleet: Fleet) -> None:
    old, middle, new = cancelled(fleet), cancelled(fleet), cancelled(fleet)
    with fleet.database.begin() as session:
        past = datetime.now(UTC) - timedelta(days=3)
        for table, name in ((LINES, LINES.c.id), (LINES, LINES.c.part_of), (JOBS, JOBS.c.line)):
            session.execute(update(table).where(name == old).values(at=past))
    assert fleet.audit.forget(timedelta(days=2), most=2) == 3
    assert [line.id for line in fleet.audit.search().items] == [new, middle]
    assert fleet.audit.forget(timedelta(days=2), most=1) == 3
    assert [len(fleet.audit.search(tenant=tenant).items) for tenant in ("acme", "best")] == [1, 1]
    assert ids(fleet, new) == ["a-1", "b-1", "a-2", "n-1"]
    with fleet.database.read() as session:
        assert session.execute(select(func.count()).select_from(JOBS).where(JOBS.c.line == old)).scalar() == 0


def test_the_latest_jobs_are_kept_however_many_lines_there_are(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = cancelled(fleet), cancelled(fleet)
    monkeypatch.setattr(bounds, "MOST_JOBS", 4)
    assert fleet.audit.forget(timedelta(days=2), most=9) == 0
    assert (len(ids(fleet, old)), len(ids(fleet, new))) == (0, 4)
    assert fleet.audit.get(old).jobs == 4, "the line still says how many"


def test_what_happens_again_and_again_is_one_line_with_its_number(fleet: Fleet) -> None:
    stranger = Actor("ada", "none", None, "page")
    for number in (1, 2, 3):
        fleet.audit.count("ab12", number, action="sign-in.failed", target="ada", by=stranger, after={"address": "::1"})
    (line,) = fleet.audit.search().items
    assert (line.id, line.after) == ("ab12", {"times": 3, "address": "::1"})


def test_refused_sign_ins_push_out_each_other_and_nothing_else(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = cancelled(fleet)
    monkeypatch.setattr(bounds, "MOST_REFUSED", 2)
    for number in range(5):
        about = {"action": "sign-in.failed", "target": "ada", "by": ADA, "after": {}}
        fleet.audit.count(f"{number:032x}", 1, **about)  # type: ignore[arg-type]
    assert fleet.audit.forget(timedelta(days=2), most=1) == 3
    lines = [line.id for line in fleet.audit.search().items]
    assert lines == [f"{4:032x}", f"{3:032x}", kept]
