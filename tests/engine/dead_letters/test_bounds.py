"""Letters are bounded by age and number, cost the same however many there are, and leave nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, InvalidJob, JobView, connect, keys
from jobs.engine.dead_letters import Where
from jobs.engine.policy import Retention
from jobs.settings import InvalidSettings, Settings
from tests.conftest import wait_until
from tests.engine.dead_letters.conftest import failure, ids, let_die, until_dead
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import mortal


def orders(fleet: Fleet, folder: Path, count: int) -> list[JobView]:
    return list(mortal.orders.enqueue_many([{"folder": str(folder), "number": number} for number in range(count)]))


def bounded(environ: dict[str, str], **settings: str) -> Fleet:
    return connect(Settings.from_env(environ | settings)).discover()


def test_only_so_many_are_kept_the_newest(environ: dict[str, str], fleet: Fleet, folder: Path) -> None:
    fleet = bounded(environ, DEAD_LETTER_MAX_COUNT="30")
    jobs = orders(fleet, folder, 100)
    let_die(fleet, jobs)
    fleet.dead_letters.keep_within_bounds()
    assert ids(fleet) == [job.id for job in reversed(jobs[70:])]
    assert [job.id for job in jobs[:70] if fleet.redis.exists(keys.job(job.id), keys.results(job.id))] == []
    assert fleet.redis.zcard(keys.registry("failed", "default")) == 30
    (group,) = fleet.dead_letters.groups().items
    assert (group.count, group.seen) == (30, 100)


def test_of_one_type_only_as_many_as_it_declares(fleet: Fleet, folder: Path) -> None:
    jobs = [mortal.once.enqueue({"folder": str(folder), "number": number}) for number in range(8)]
    for job in jobs:
        let_die(fleet, [job])
    let_die(fleet, orders(fleet, folder, 2))
    assert fleet.dead_letters.count() == 5, "the index knows it at once"
    assert ids(fleet, Where(type="mortal.once")) == [job.id for job in reversed(jobs[5:])]


def test_a_letter_lives_as_long_as_its_type_says_and_no_longer_than_the_fleet_says(
    environ: dict[str, str], fleet: Fleet, folder: Path
) -> None:
    kept = {
        fleet: (7 * 86400, 3600),
        bounded(environ, DEAD_LETTER_MAX_AGE="600"): (600, 600),
        bounded(environ, DEAD_LETTER_MAX_AGE="600", DEAD_LETTER_MAX_AGE__MORTAL_ORDERS="900"): (900, 600),
    }
    for each, seconds in kept.items():
        jobs = [mortal.orders.enqueue({"folder": str(folder)}), mortal.once.enqueue({"folder": str(folder)})]
        let_die(each, jobs)
        for job, lives in zip(jobs, seconds, strict=True):
            for key in (keys.job(job.id), keys.results(job.id)):
                assert lives - 60 < each.redis.ttl(key) <= lives
            score = each.redis.zscore(keys.registry("failed", "default"), job.id)
            assert score is not None and lives - 60 < score - each.redis.time()[0] <= lives


def test_what_is_too_old_goes_also_when_its_job_stays(environ: dict[str, str], fleet: Fleet, folder: Path) -> None:
    """A job of a plain RQ client stays as long as RQ promises."""
    fleet = bounded(environ, DEAD_LETTER_MAX_AGE="600")
    foreign = Queue("default", connection=fleet.redis, serializer=JSONSerializer).enqueue("a.b", job_id="foreign")
    let_die(fleet, [fleet.jobs.get("foreign")])
    ours = orders(fleet, folder, 3)
    let_die(fleet, ours)
    for job_id in ("foreign", ours[0].id):
        grow_old(fleet, job_id, timedelta(seconds=601))
    fleet.dead_letters.keep_within_bounds()
    assert ids(fleet) == [ours[2].id, ours[1].id]
    assert foreign.get_status(refresh=True) == "failed"
    assert not fleet.redis.exists(keys.job(ours[0].id))


def test_entries_whose_job_is_gone_are_found_though_nobody_looks(fleet: Fleet, folder: Path) -> None:
    jobs = orders(fleet, folder, 20)
    let_die(fleet, jobs, failure("one"), failure("other"))
    for job in jobs[::2]:
        Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer).delete()
    assert fleet.dead_letters.count() == 20
    fleet.dead_letters.keep_within_bounds()
    assert fleet.dead_letters.count() == 10
    assert [group.text for group in fleet.dead_letters.groups().items] == ["LookupError: other"]


@pytest.mark.slow
def test_a_worker_keeps_the_bounds(environ: dict[str, str], fleet: Fleet, folder: Path, spawn_worker: Any) -> None:
    spawn_worker(DEAD_LETTER_MAX_COUNT="5")
    for _ in range(12):
        mortal.orders.enqueue({"folder": str(folder)})
    until_dead(fleet, 5)
    wait_until(lambda: sum(fleet.dead_letters.exhausted()[0].types.values()) == 12 and len(ids(fleet)) == 5)
    assert fleet.dead_letters.exhausted()[0].types == {"mortal.orders": 12}


def test_nothing_is_left_of_letters_that_are_gone(fleet: Fleet, folder: Path) -> None:
    before = all_keys(fleet)
    for verb in ("discard", "expire", "delete"):
        jobs = orders(fleet, folder, 5)
        let_die(fleet, jobs, failure(verb), failure("paper"))
        for job in jobs:
            if verb == "delete":
                Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer).delete()
            elif verb == "expire":
                fleet.redis.delete(keys.job(job.id), keys.results(job.id))
            else:
                fleet.dead_letters.discard_one(job.id, by="ada")
        fleet.dead_letters.keep_within_bounds()
        left = all_keys(fleet) - before - {keys.EXHAUSTED, keys.EXHAUSTED_AT, f"{keys.DEAD_LETTERS}:checked"}
        assert {key for key in left if not key.startswith(f"{keys.PREFIX}:events")} <= {
            keys.exhausted_on(int(fleet.redis.time()[0]) // 86400),
            keys.ended("mortal.orders", "failed"),
            keys.registry("failed", "default"),
            *(key for key in left if "lease-reply" in key or key.endswith(("event-clock", "counters", ":queues"))),
        }, verb


def test_a_page_asks_redis_for_as_much_however_many_letters_there_are(fleet: Fleet, folder: Path) -> None:
    costs: list[tuple[int, ...]] = []
    for more in (700, 2100):
        let_die(fleet, orders(fleet, folder, more))
        asked = [
            commands(fleet, lambda: fleet.dead_letters.find(limit=50)),
            commands(fleet, lambda: fleet.dead_letters.find(Where(type="mortal.orders"), limit=50)),
            commands(fleet, lambda: fleet.dead_letters.groups()),
        ]
        costs.append(tuple(asked))
    assert costs[0] == costs[1], "commands a page"
    assert max(costs[0]) < 200
    nothing = commands(fleet, lambda: fleet.dead_letters.find(Where(text="no letter says this"), limit=50))
    assert nothing < 2 * 5500, "a page that finds nothing gives up after 5,000"


def test_an_outcome_that_is_sent_twice_is_one_letter(fleet: Fleet, folder: Path) -> None:
    (job,) = orders(fleet, folder, 1)
    leases = leases_of(fleet)
    (run,) = lease(leases)
    assert settle(leases, (run, failure())) == ["ok"]
    assert settle(leases, (run, failure())) == ["again"]
    assert ids(fleet) == [job.id]
    assert len(fleet.dead_letters.get(job.id).history) == 1
    assert fleet.dead_letters.exhausted()[0].total == 1
    assert fleet.dead_letters.groups().items[0].seen == 1


def test_jobs_that_fail_while_their_workers_are_killed_are_one_letter_each(
    fleet: Fleet, folder: Path, spawn_worker: Callable[..., Any]
) -> None:
    jobs = orders(fleet, folder, 150)
    for _ in range(3):
        worker = spawn_worker()
        before = fleet.dead_letters.count()
        wait_until(lambda before=before: fleet.dead_letters.count() > before or fleet.dead_letters.count() == 150)
        worker.kill()
        worker.wait(10)
    spawn_worker()
    wait_until(lambda: fleet.dead_letters.count() == 150, timeout=60)
    assert Counter(ids(fleet)) == Counter(job.id for job in jobs)
    assert fleet.dead_letters.exhausted()[0].types == {"mortal.orders": 150}
    (group,) = fleet.dead_letters.groups().items
    assert (group.count, group.seen) == (150, 150)
    for job in jobs[::10]:
        history = fleet.dead_letters.get(job.id).history
        assert [attempt.number for attempt in history if attempt.outcome != "lost"] == [1, 2, 3]


def test_an_override_that_makes_no_sense_is_refused_by_its_name(environ: dict[str, str]) -> None:
    for name, value in (("DEAD_LETTER_MAX_AGE__MORTAL_ONCE", "-1"), ("DEAD_LETTER_MAX_COUNT__MORTAL_ONCE", "few")):
        with pytest.raises(InvalidSettings, match=r"mortal\.once"):
            bounded(environ, **{name: value})
    with pytest.raises(InvalidSettings, match="DEAD_LETTER_MAX_AGE"):
        bounded(environ, DEAD_LETTER_MAX_AGE="0")
    with pytest.raises(InvalidJob):
        replace(Retention(), failed_count=-1)


def grow_old(fleet: Fleet, job_id: str, age: timedelta) -> None:
    """Let a letter have died so long ago."""
    for key in fleet.redis.scan_iter(f"{keys.DEAD_LETTERS}*"):
        if fleet.redis.type(key) == b"zset" and fleet.redis.zscore(key, job_id) is not None:
            fleet.redis.zincrby(key, -age.total_seconds(), job_id)


def all_keys(fleet: Fleet) -> set[str]:
    return {key.decode() for key in fleet.redis.scan_iter("*")}


def commands(fleet: Fleet, ask: Callable[[], object]) -> int:
    """How many commands Redis ran for it, those of scripts too."""
    fleet.redis.config_resetstat()
    ask()
    stats: dict[str, dict[str, int]] = fleet.redis.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if not name.startswith(("cmdstat_config", "cmdstat_info")))
