"""A job's page tells all that is kept of it: its runs one by one, output, payload without secrets, and why it waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, NotFound, keys
from jobs.engine.outcome import Outcome
from tests.conftest import wait_until
from tests.engine.conftest import until_ended
from tests.engine.inspection.conftest import DONE, enqueue, failed, run
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import gated, mortal
from tests.engine.samples import jobs as samples


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"ENCRYPTION_KEYS": Fernet.generate_key().decode()}


def test_every_run_is_told_with_its_times_worker_traceback_and_output(
    fleet: Fleet, folder: Path, spawn_worker: Callable[..., Any]
) -> None:
    spawn_worker()
    job = mortal.orders.enqueue({"folder": str(folder), "number": 7}, tenant="ours")
    until_ended(fleet, job)
    details = wait_until(lambda: found if (found := fleet.inspection.get(job.id)).lines else None)
    assert [each.number for each in details.runs] == [1, 2, 3]
    assert [each.outcome for each in details.runs] == ["retried", "retried", "failed"]
    for each in details.runs:
        assert each.queued_at and each.leased_at and each.began_at and each.ended_at
        assert each.queued_at <= each.leased_at
        assert each.began_at <= each.ended_at and each.seconds is not None
        assert each.worker and f"is closed since {each.number}" in each.traceback
        assert each.output and each.output.count == 1
    assert [line.text for line in details.lines] == [f"order 7, attempt {n}" for n in (1, 2, 3)]
    assert details.payload == {"folder": str(folder), "number": 7, "note": "", "api_key": None}
    assert (details.rules.max_retries, details.rules.known, details.rules.durable) == (2, True, False)
    assert [event.name for event in details.events][:2] == ["job:queued", "job:started"]
    assert details.may == ["retry", "discard"]


def test_a_run_under_way_is_told_too(fleet: Fleet) -> None:
    details = fleet.inspection.get(run(fleet, enqueue()).id)
    (only,) = details.runs
    assert (only.outcome, only.worker, only.number, only.seconds) == ("running", "w1", 1, None)
    assert only.queued_at and only.leased_at and only.queued_at <= only.leased_at
    assert details.may == ["cancel"]


def test_runs_after_running_again_by_hand_keep_their_own_starts(fleet: Fleet) -> None:
    job = run(fleet, enqueue(), failed())
    fleet.jobs.retry(job.id, by="ada")
    run(fleet, job, DONE)
    details = fleet.inspection.get(job.id)
    first, second = details.runs
    assert (first.number, first.outcome, second.outcome) == (1, "failed", "completed")
    assert first.leased_at and second.queued_at and first.leased_at < second.queued_at
    assert (details.retried, details.retried_by, details.job.result) == (1, "ada", {"value": 2})


def test_without_events_the_last_run_still_has_its_times(fleet: Fleet) -> None:
    job = run(fleet, enqueue(), failed())
    for key in fleet.redis.scan_iter(f"{keys.PREFIX}:events:*"):
        fleet.redis.delete(key)
    (only,) = fleet.inspection.get(job.id).runs
    assert only.leased_at == job.started_at and only.queued_at == job.enqueued_at


def test_secrets_in_a_payload_are_struck_out(fleet: Fleet) -> None:
    job = mortal.orders.enqueue({"folder": "https://ada:pw@host/", "note": "token=abc123", "api_key": "sk-canary"})
    shown = fleet.inspection.get(job.id).payload
    assert shown == {"folder": "https://***@host/", "number": 1, "note": "token=***", "api_key": "***"}


def test_why_it_waits_and_what_can_be_done(fleet: Fleet) -> None:
    later = fleet.inspection.get(samples.double.enqueue_in(timedelta(hours=1), {"value": 1}).id)
    assert later.waiting and later.waiting.reason == "scheduled"
    retried = fleet.inspection.get(run(fleet, gated.metered.enqueue({"folder": ""}), failed(retries=3)).id)
    assert retried.waiting and retried.waiting.reason == "retry" and retried.runs[0].outcome == "retried"
    waits = fleet.inspection.get(enqueue().id)
    assert waits.waiting and waits.waiting.reason == "no_worker" and waits.may == ["cancel", "promote"]
    assert fleet.inspection.get(gated.flow.enqueue({"flow_id": "f"}).id).rules.limits == ["1 at once per flow_id"]


def test_what_it_waits_for_and_what_waits_for_it(fleet: Fleet) -> None:
    queue = Queue("default", connection=fleet.redis, serializer=JSONSerializer)
    first = queue.enqueue("os.getcwd")
    second = queue.enqueue("os.getcwd", depends_on=first)
    (dependent,) = fleet.inspection.get(first.id).dependents
    assert (dependent.id, dependent.status) == (second.id, "deferred")
    details = fleet.inspection.get(second.id)
    assert [(each.id, each.status) for each in details.depends_on] == [(first.id, "queued")]
    assert details.payload is None, "the arguments of plain RQ jobs are nobody's business"
    assert details.may == ["cancel"]


def test_a_job_of_another_tenant_is_only_named(fleet: Fleet) -> None:
    job, other = enqueue(tenant="ours"), enqueue(tenant="theirs")
    fleet.redis.sadd(keys.dependents(job.id), other.id)
    (dependent,) = fleet.inspection.get(job.id).dependents
    assert (dependent.id, dependent.type, dependent.status) == (other.id, "", None)


def test_another_tenants_job_is_as_good_as_none(fleet: Fleet) -> None:
    job = enqueue(tenant="ours")
    assert fleet.inspection.get(job.id, "ours").job.id == job.id
    for job_id, tenant in ((job.id, "theirs"), (job.id, ""), ("nothing", None)):
        with pytest.raises(NotFound):
            fleet.inspection.get(job_id, tenant)


def test_nonsense_in_a_hash_is_shown_as_far_as_it_goes(fleet: Fleet) -> None:
    fields: dict[Any, Any] = {"status": "failed", "data": b"\x80\x04canary", "retried": "often", "started_at": "soon"}
    fleet.redis.hset(keys.job("strange"), mapping=fields)
    fleet.redis.set(keys.results("strange"), "no stream")
    fleet.redis.set(keys.dependents("strange"), "no set")
    details = fleet.inspection.get("strange")
    assert (details.payload, details.runs, details.retried, details.rules.known) == (None, [], 0, False)


def test_a_quarantined_jobs_payload_stays_unread(fleet: Fleet) -> None:
    job = enqueue()
    leases = leases_of(fleet)
    (running,) = lease(leases)
    settle(leases, (running, Outcome("quarantined", message="its signature is wrong")))
    details = fleet.inspection.get(job.id)
    assert (details.job.status, details.payload, details.may) == ("quarantined", None, ["retry", "cancel", "discard"])
