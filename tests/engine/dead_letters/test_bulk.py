"""Actions by filter: first a dry run, then no more than it said, in order, once, also when they are broken off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.engine import Fleet, JobView, NotFound, keys
from jobs.engine.dead_letters import Where
from jobs.engine.dead_letters.places import Bound, bound_of, text_of
from jobs.engine.places import Place, cursor_of, place_of
from tests.conftest import ROOT, wait_until
from tests.engine.conftest import names_of_events, told, until_ended
from tests.engine.dead_letters.conftest import failure, ids, let_die, until_dead
from tests.engine.samples import mortal


def orders(fleet: Fleet, folder: Path, count: int, tenant: str = "acme") -> list[JobView]:
    payloads = [{"folder": str(folder), "number": number} for number in range(count)]
    return list(mortal.orders.enqueue_many(payloads, tenant=tenant))


def test_a_dry_run_says_how_many_shows_the_oldest_and_changes_nothing(fleet: Fleet, folder: Path) -> None:
    jobs = orders(fleet, folder, 15)
    let_die(fleet, jobs)
    before = snapshot(fleet)
    plan = fleet.dead_letters.plan(Where(tenant="acme"))
    assert (plan.count, plan.more) == (15, False)
    assert [letter.id for letter in plan.shown] == [job.id for job in jobs[:10]]
    assert fleet.dead_letters.plan(Where(tenant="other")).count == 0
    assert snapshot(fleet) == before


def test_what_is_run_again_keeps_its_order_has_all_retries_and_tells_it(fleet: Fleet, folder: Path) -> None:
    jobs = orders(fleet, folder, 12)
    let_die(fleet, jobs)
    done = fleet.dead_letters.retry(fleet.dead_letters.plan().bound, by="ada")
    assert (done.done, done.refused, done.next_cursor) == (12, 0, None)
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [job.id.encode() for job in jobs]
    for job in jobs:
        view = fleet.jobs.get(job.id)
        assert (view.status, view.attempts) == ("queued", 0)
        assert fleet.redis.hmget(keys.job(job.id), "retries_left", "retried_by") == [b"2", b"ada"]
        assert names_of_events(fleet, job)[-1] == "job:queued"
    assert fleet.dead_letters.count() == 0 and fleet.dead_letters.groups().items == []
    assert ids(fleet) == []


def test_what_dies_after_the_dry_run_is_not_touched_though_it_is_the_same_job(fleet: Fleet, folder: Path) -> None:
    jobs = orders(fleet, folder, 3)
    let_die(fleet, jobs)
    plan = fleet.dead_letters.plan()
    later = orders(fleet, folder, 2)
    let_die(fleet, later)
    fleet.dead_letters.retry_one(jobs[0].id, by="ada")
    let_die(fleet, jobs[:1])
    assert fleet.dead_letters.retry(plan.bound, by="ada").done == 2
    assert set(ids(fleet)) == {jobs[0].id, later[0].id, later[1].id}
    assert fleet.dead_letters.retry(plan.bound, by="ada").done == 0
    assert fleet.dead_letters.discard(plan.bound, by="ada").done == 0


def test_a_job_that_dies_anew_between_the_look_and_the_action_is_left(fleet: Fleet, folder: Path) -> None:
    (job,) = orders(fleet, folder, 1)
    let_die(fleet, [job])
    (letter,) = fleet.dead_letters.find().items
    fleet.dead_letters.retry_one(job.id, by="ada")
    let_die(fleet, [job])
    assert fleet.dead_letters._retry([letter], by="bob") == ["changed"]
    assert fleet.dead_letters._discard([letter]) == ["changed"]
    assert ids(fleet) == [job.id]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (Where(), "abcdef"),
        (Where(type="mortal.orders"), "abc"),
        (Where(type="mortal.once"), "def"),
        (Where(tenant="acme"), "abef"),
        (Where(tenant=""), "cd"),
        (Where(lane="audit"), "def"),
        (Where(queue="low"), ""),
        (Where(text="PAPER"), "ace"),
        (Where(text="ink (2)"), "bdf"),
        (Where(text="INK (2) É"), "bdf"),
        (Where(text="paper", lane="audit"), "e"),
        (Where(spent=False), ""),
        (Where(type="no.such"), ""),
        (Where(fingerprint="0" * 16), ""),
    ],
)
def test_letters_are_found_by_what_is_known_of_them(fleet: Fleet, folder: Path, where: Where, wanted: str) -> None:
    payload = {"folder": str(folder)}
    jobs = [mortal.orders.enqueue(payload, tenant=tenant) for tenant in ("acme", "acme", "")]
    jobs += [mortal.once.enqueue(payload, tenant=tenant) for tenant in ("", "acme", "acme")]
    let_die(fleet, jobs, failure("out of paper"), failure("out of ink (2) É"))
    names = dict(zip([job.id for job in jobs], "abcdef", strict=True))
    assert [names[found] for found in ids(fleet, where)] == sorted(wanted, reverse=True)
    assert fleet.dead_letters.plan(where).count == len(wanted)


@pytest.mark.parametrize("kind", [None, "mortal.orders"])
def test_letters_are_found_by_time_and_page_by_page_also_while_they_go(
    fleet: Fleet, folder: Path, kind: str | None
) -> None:
    jobs = orders(fleet, folder, 250)
    let_die(fleet, jobs)
    newest_first = [job.id for job in reversed(jobs)]
    if kind is None:
        assert ids(fleet, limit=7) == newest_first
    assert sorted(ids(fleet, Where(type=kind), limit=7)) == sorted(newest_first), "none twice, none left out"
    page = fleet.dead_letters.find(Where(type=kind), limit=100)
    for letter in page.items[50:]:
        fleet.dead_letters.discard_one(letter.id, by="ada")
    rest = fleet.dead_letters.find(Where(type=kind), limit=200, cursor=page.next_cursor)
    assert {letter.id for letter in rest.items} == set(newest_first) - {letter.id for letter in page.items}
    middle = fleet.dead_letters.find(limit=100).items[60]
    older = ids(fleet, Where(type=kind, until=middle.died_at))
    newer = ids(fleet, Where(type=kind, since=middle.died_at + timedelta(microseconds=1)))
    assert len(older) + len(newer) == 200 and not set(older) & set(newer)


def test_groups_say_how_many_since_when_and_give_an_example(fleet: Fleet, folder: Path) -> None:
    jobs = orders(fleet, folder, 9)
    let_die(fleet, jobs, failure("page 1 is missing"), failure("no ink"), failure("page 2 is missing"))
    pages, ink = sorted(fleet.dead_letters.groups().items, key=lambda group: -group.count)
    assert (pages.count, pages.seen, ink.count) == (6, 6, 3)
    assert pages.first_at < pages.last_at
    assert pages.example == jobs[8].id
    assert set(ids(fleet, Where(fingerprint=ink.fingerprint))) == {jobs[1].id, jobs[4].id, jobs[7].id}
    one = fleet.dead_letters.groups(limit=1)
    two = fleet.dead_letters.groups(limit=1, cursor=one.next_cursor)
    assert {one.items[0].fingerprint, two.items[0].fingerprint} == {pages.fingerprint, ink.fingerprint}
    assert two.next_cursor is None
    plan = fleet.dead_letters.plan(Where(fingerprint=pages.fingerprint))
    assert fleet.dead_letters.discard(plan.bound, by="ada").done == 6
    assert [group.fingerprint for group in fleet.dead_letters.groups().items] == [ink.fingerprint]


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_an_action_that_is_killed_half_way_is_sent_again_and_does_the_rest_once(
    fleet: Fleet, folder: Path, environ: dict[str, str], spawn_worker: Callable[..., object], verb: str
) -> None:
    jobs = orders(fleet, folder, 40)
    let_die(fleet, jobs)
    bound = fleet.dead_letters.plan().bound
    command = [sys.executable, "-m", "tests.engine.dead_letters.bulk", verb, bound]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, text=True, **pipes) as process:
        assert process.stdin and process.stderr
        for _ in range(3):
            assert process.stderr.readline() == "5\n"
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
    left = len(ids(fleet))
    assert left in (20, 25), "it was killed half-way"
    assert getattr(fleet.dead_letters, verb)(bound, by="ada").done == left
    assert ids(fleet) == []
    if verb == "discard":
        assert [job.id for job in jobs if fleet.redis.exists(keys.job(job.id))] == []
        return
    (folder / "open").touch()
    spawn_worker()
    for job in jobs:
        assert until_ended(fleet, job).status == "completed"
    assert sorted(map(int, told(folder))) == list(range(40)), "each ran once"


def test_workers_that_fail_what_is_run_again_do_not_make_it_endless(
    fleet: Fleet, folder: Path, spawn_worker: Callable[..., object]
) -> None:
    spawn_worker()
    jobs = orders(fleet, folder, 30)
    until_dead(fleet, 30)
    plan = fleet.dead_letters.plan()
    assert plan.count == 30
    assert fleet.dead_letters.retry(plan.bound, by="ada").done == 30
    wait_until(lambda: len(told(folder)) == 180)
    until_dead(fleet, 30)
    assert fleet.dead_letters.retry(plan.bound, by="ada").done == 0
    (group,) = fleet.dead_letters.groups().items
    assert group.count == 30
    assert {len(fleet.dead_letters.get(job.id).history) for job in jobs} == {6}


@pytest.mark.parametrize("time", ["1795345671", "1795345671.1", "1795345750.3532479", "1.7953457503532479e+9"])
def test_a_time_is_handed_back_however_redis_writes_it(fleet: Fleet, folder: Path, time: str) -> None:
    place = Place(time, "x" * 128)
    assert place_of(cursor_of(place)) == place
    assert bound_of(text_of(Bound(Where(), time, 3))).until == time
    let_die(fleet, orders(fleet, folder, 2))
    later = Place(f"{float(time) + 10**9:.6e}", "gone")
    assert len(fleet.dead_letters.find(cursor=cursor_of(later)).items) == 2


def test_what_is_no_bound_or_cursor_is_refused(fleet: Fleet, folder: Path) -> None:
    let_die(fleet, orders(fleet, folder, 1))
    nobody = text_of(Bound(Where(), "9999999999", 0))
    assert fleet.dead_letters.retry(nobody, by="ada").done == 0
    for strange in ("", "x", "e30=", "WyIiLCIiXQ==", "é", "A" * 5000):
        with pytest.raises(ValueError):
            fleet.dead_letters.retry(strange, by="ada")
        if strange:
            with pytest.raises(ValueError):
                fleet.dead_letters.find(cursor=strange)
    with pytest.raises(NotFound):
        fleet.dead_letters.retry_one("nothing", by="ada")


def snapshot(fleet: Fleet) -> dict[bytes, bytes | None]:
    return {key: fleet.redis.dump(key) for key in fleet.redis.scan_iter("*")}
