"""A job that fails for good in a real worker becomes a dead letter with everything that is known of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, NotFound, connect, keys
from jobs.engine.dead_letters import Where
from jobs.engine.outcome import Outcome
from jobs.settings import Settings
from tests.engine.conftest import names_of_events, told, until_ended, until_quarantined
from tests.engine.dead_letters.conftest import failure, ids, let_die, until_dead
from tests.engine.foreign_functions import __name__ as FUNCTIONS
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import jobs as samples
from tests.engine.samples import mortal

Spawn = Callable[..., object]


def test_a_spent_job_keeps_payload_and_each_attempts_traceback_worker_and_output(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = mortal.orders.enqueue({"folder": str(folder), "number": 7}, tenant="acme")
    until_ended(fleet, job)
    letter = fleet.dead_letters.get(job.id)
    assert letter.payload == {"folder": str(folder), "number": 7, "note": "", "api_key": None}
    assert (letter.type, letter.tenant, letter.lane, letter.queue) == ("mortal.orders", "acme", "default", "default")
    assert (letter.attempts, letter.max_retries, letter.spent, letter.state) == (3, 2, True, "dead")
    assert letter.text == "ConnectionError: shop 7 at /run/shop-7.sock is closed since 3"
    assert letter.error is not None
    assert "unexpected ConnectionError" in letter.error.message, "what the tenant sees quotes nothing"
    assert [attempt.number for attempt in letter.history] == [1, 2, 3]
    assert [attempt.outcome for attempt in letter.history] == ["retried", "retried", "failed"]
    assert len({attempt.execution for attempt in letter.history}) == 3
    for attempt in letter.history:
        assert f"is closed since {attempt.number}" in attempt.traceback
        assert "mortal.py" in attempt.traceback
        assert attempt.worker and attempt.began_at and attempt.ended_at
        assert attempt.began_at <= attempt.ended_at
        assert attempt.fingerprint == letter.fingerprint
        assert attempt.output is not None
        printed = [line.text for line in letter.lines if attempt.output.first <= line.id <= attempt.output.last]
        assert f"order 7, attempt {attempt.number}" in printed
        own = [line.text for line in letter.printed(attempt) if line.text.startswith("order")]
        assert own == [f"order 7, attempt {attempt.number}"]


def test_each_of_many_attempts_is_kept(fleet: Fleet, spawn_worker: Spawn) -> None:
    spawn_worker()
    job = mortal.tireless.enqueue({"folder": ""})
    until_ended(fleet, job)
    history = fleet.dead_letters.get(job.id).history
    assert [attempt.number for attempt in history] == list(range(1, 16))
    assert all(f"attempt {attempt.number}" in attempt.traceback for attempt in history)


def test_a_job_that_fails_for_good_at_once_is_a_letter_and_is_not_spent(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = samples.hopeless.enqueue({"folder": str(folder)})
    until_ended(fleet, job)
    (letter,) = fleet.dead_letters.find().items
    assert (letter.id, letter.spent, letter.attempts) == (job.id, False, 1)
    assert letter.text == "Permanent: the PDF is encrypted"
    assert fleet.dead_letters.exhausted()[0].total == 0


def test_cancelled_finished_and_forgotten_jobs_are_no_letters(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    until_ended(fleet, samples.double.enqueue({}))
    mortal.forgotten.enqueue({"folder": str(folder)})
    cancelled = samples.double.enqueue_in(timedelta(hours=1), {})
    fleet.jobs.cancel(cancelled.id)
    job = mortal.once.enqueue({"folder": str(folder)})
    assert until_dead(fleet, 1) == [job.id]
    assert fleet.dead_letters.exhausted()[0].types == {"mortal.forgotten": 1, "mortal.once": 1}
    with pytest.raises(NotFound):
        fleet.dead_letters.get(cancelled.id)


def test_a_letter_that_is_run_again_and_fails_again_comes_back_with_its_history(
    fleet: Fleet, spawn_worker: Spawn, folder: Path
) -> None:
    spawn_worker()
    job = mortal.orders.enqueue({"folder": str(folder)})
    until_ended(fleet, job)
    first = fleet.dead_letters.retry_one(job.id, by="ada")
    assert (first.retried, first.retried_by) == (0, "")
    until_dead(fleet, 1)
    again = fleet.dead_letters.get(job.id)
    assert [attempt.number for attempt in again.history] == [1, 2, 3, 1, 2, 3]
    assert (again.retried, again.retried_by, again.attempts) == (1, "ada", 3)
    assert again.died_at > first.died_at
    (group,) = fleet.dead_letters.groups().items
    assert (group.count, group.fingerprint) == (1, first.fingerprint)
    (folder / "open").touch()
    fleet.dead_letters.retry_one(job.id, by="ada")
    until_ended(fleet, job)
    assert fleet.jobs.get(job.id).status == "completed"
    assert ids(fleet) == []
    assert fleet.dead_letters.groups().items == []
    assert names_of_events(fleet, job).count("job:queued") == 3


def test_secrets_stand_nowhere_in_a_letter(fleet: Fleet, environ: dict[str, str], spawn_worker: Spawn) -> None:
    canary = "canary-4711-do-not-show"
    key = Fernet.generate_key().decode()
    sealed = connect(Settings.from_env({**environ, "ENCRYPTION_KEYS": key})).discover()
    spawn_worker(ENCRYPTION_KEYS=key)
    mortal.leaks.enqueue({"folder": "", "note": "password=canary-4711-do-not-show", "api_key": canary})
    (job_id,) = until_dead(sealed, 1)
    shown = sealed.dead_letters.get(job_id).model_dump_json() + sealed.dead_letters.groups().model_dump_json()
    assert canary not in shown
    assert "gAAAA" not in shown, "nor is the encrypted value of any use"
    kept = [sealed.redis.hgetall(keys.job(job_id)).get(b"error_text")]
    assert canary.encode() not in kept[0]
    sealed.close()


def test_what_rqs_own_tools_run_again_or_delete_is_no_letter_any_more(fleet: Fleet, folder: Path) -> None:
    jobs = [mortal.orders.enqueue({"folder": str(folder), "number": number}) for number in range(3)]
    let_die(fleet, jobs)
    requeued, deleted, stays = (Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer) for job in jobs)
    requeued.requeue()
    deleted.delete()
    assert ids(fleet) == [stays.id]
    for gone in (requeued, deleted):
        with pytest.raises(NotFound):
            fleet.dead_letters.get(gone.id)
    assert fleet.dead_letters.count() == 1
    assert [group.count for group in fleet.dead_letters.groups().items] == [1]


def test_a_job_that_rq_requeued_leaves_when_it_is_leased_though_nobody_looked(fleet: Fleet, folder: Path) -> None:
    job = mortal.orders.enqueue({"folder": str(folder)})
    let_die(fleet, [job])
    Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer).requeue()
    leases = leases_of(fleet)
    (run,) = lease(leases)
    assert fleet.dead_letters.count() == 0 and fleet.dead_letters.groups().items == []
    assert settle(leases, (run, failure("another error"))) == ["ok"]
    assert fleet.dead_letters.count() == 1
    assert [group.text for group in fleet.dead_letters.groups().items] == ["LookupError: another error"]


def test_a_discarded_letter_leaves_nothing_and_tells_who_watches(fleet: Fleet, folder: Path) -> None:
    job = mortal.once.enqueue({"folder": str(folder)}, tenant="acme")
    let_die(fleet, [job])
    fleet.dead_letters.discard_one(job.id, by="ada")
    assert names_of_events(fleet, job)[-1] == "job:discarded"
    left = [key for key in fleet.redis.scan_iter("*") if job.id.encode() in key and b":events:" not in key]
    assert left == []
    assert fleet.redis.zcard(keys.registry("failed", "default")) == 0
    assert [fleet.redis.exists(name) for name in (keys.DEAD_LETTERS, keys.DEAD_LETTER_GROUPS)] == [0, 0]
    with pytest.raises(NotFound):
        fleet.dead_letters.discard_one(job.id, by="ada")


def test_a_letter_for_which_others_wait_is_not_discarded(fleet: Fleet, folder: Path) -> None:
    job = mortal.once.enqueue({"folder": str(folder)})
    fleet.redis.sadd(keys.dependents(job.id), "somebody")
    let_die(fleet, [job])
    with pytest.raises(Conflict, match="wait for it"):
        fleet.dead_letters.discard_one(job.id, by="ada")
    assert ids(fleet) == [job.id]


def test_a_letter_whose_like_runs_is_not_run_beside_it(fleet: Fleet, folder: Path) -> None:
    dead = mortal.unique.enqueue({"folder": str(folder)})
    let_die(fleet, [dead])
    living = mortal.unique.enqueue({"folder": str(folder)})
    assert living.id != dead.id
    with pytest.raises(Conflict, match=living.id):
        fleet.dead_letters.retry_one(dead.id, by="ada")
    done = fleet.dead_letters.retry(fleet.dead_letters.plan().bound, by="ada")
    assert (done.done, done.refused, done.refusals[0].id) == (0, 1, dead.id)
    assert ids(fleet) == [dead.id]


def test_what_is_in_quarantine_is_listed_beside_with_its_reason_and_restored(fleet: Fleet, folder: Path) -> None:
    job = samples.double.enqueue({"value": 2}, tenant="acme")
    fleet.redis.hset(keys.job(job.id), "data", json.dumps(["os.getcwd", None, [], {}]))
    leases = leases_of(fleet)
    (run,) = lease(leases)
    settle(leases, (run, Outcome("quarantined", message="not ours")))
    until_quarantined(fleet, job.id)
    aside = Where(state="quarantined")
    assert ids(fleet) == []
    (letter,) = fleet.dead_letters.find(aside).items
    assert (letter.id, letter.state, letter.text, letter.tenant) == (job.id, "quarantined", "not ours", "acme")
    assert fleet.dead_letters.get(job.id).payload is None, "nobody reads what is not trusted"
    assert ids(fleet, Where(state="quarantined", text="NOT OURS")) == [job.id]
    assert ids(fleet, Where(state="quarantined", tenant="other")) == []
    plan = fleet.dead_letters.plan(aside)
    assert fleet.dead_letters.retry(plan.bound, by="ada").done == 1
    assert fleet.jobs.get(job.id).status == "queued"


def test_a_living_job_is_not_discarded_for_an_earlier_one_of_its_id_that_was_set_aside(fleet: Fleet) -> None:
    fleet.redis.zadd(keys.QUARANTINE, {"again": fleet.redis.time()[0]})
    (aside,) = fleet.dead_letters.find(Where(state="quarantined")).items
    living = samples.double.enqueue({}, job_id="again")
    assert ids(fleet, Where(state="quarantined")) == []
    with pytest.raises(NotFound):
        fleet.dead_letters.discard_one(living.id, by="ada")
    assert fleet.dead_letters._discard([aside]) == ["queued"]
    assert fleet.jobs.get(living.id).status == "queued"


def test_plain_rq_jobs_are_letters_too(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker(FOREIGN_JOBS=f"{FUNCTIONS}.*")
    queue = Queue("default", connection=fleet.redis, serializer=JSONSerializer)
    job = queue.enqueue(f"{FUNCTIONS}.fail", str(folder / "job.told"), description="a plain job")
    assert until_dead(fleet, 1) == [job.id]
    letter = fleet.dead_letters.get(job.id)
    assert (letter.type, letter.spent, letter.payload) == ("a plain job", True, None)
    assert "foreign_functions" in letter.history[0].traceback
    assert ids(fleet, Where(type="a plain job")) == [job.id]


def test_a_job_that_fails_on_a_stock_worker_is_a_letter(fleet: Fleet, stock_worker: Any, folder: Path) -> None:
    job = mortal.once.enqueue({"folder": str(folder), "number": 3})
    stock_worker()
    assert ids(fleet) == [job.id]
    letter = fleet.dead_letters.get(job.id)
    assert (letter.text, letter.spent, told(folder)) == ("LookupError: nothing for 3", True, ["3"])
    assert "nothing for 3" in letter.history[0].traceback
    assert fleet.dead_letters.exhausted()[0].types == {"mortal.once": 1}
