"""Enqueueing: what is accepted lies in Redis as RQ's own data; what is refused leaves nothing there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import structlog
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rq import Queue as RQQueue
from rq.job import Job
from rq.serializers import JSONSerializer

from jobs.engine import (
    BrokerUnavailable,
    Fleet,
    IdempotencyConflict,
    InvalidPayload,
    MissingEncryptionKey,
    Payload,
    PayloadTooLarge,
    Queue,
    UnknownJob,
    connect,
    keys,
)
from jobs.settings import Settings
from tests.engine.samples import jobs as samples


def everything(fleet: Fleet) -> set[bytes]:
    return set(fleet.redis.keys("*"))


def test_an_enqueued_job_is_one_that_rq_can_read(fleet: Fleet) -> None:
    view = samples.double.enqueue(samples.Number(value=4))
    job = Job.fetch(view.id, connection=fleet.redis, serializer=JSONSerializer)
    queue = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    assert queue.job_ids == [view.id]
    assert job.func_name == "jobs.engine.execute.perform"
    assert job.args[:2] == ["samples.double", '{"value":4}']
    assert (job.get_status(), job.origin, job.timeout, job.result_ttl) == ("queued", "default", 300, 3600)
    assert job.description == "samples.double"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"value": "many"}, "value: Input should be a valid integer"),
        ({"other": 1}, "other: Extra inputs"),
        ({"value": None}, "value"),
        ([], "payload"),
        (samples.Told(folder="/tmp"), "expected Number"),
    ],
)
def test_an_invalid_payload_is_refused_and_nothing_is_written(fleet: Fleet, payload: Any, says: str) -> None:
    with pytest.raises(InvalidPayload, match=says):
        samples.double.enqueue(payload)
    assert everything(fleet) == set()


def test_one_invalid_payload_in_a_batch_refuses_the_batch(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload):
        samples.double.enqueue_many([{"value": 1}, {"value": "x"}])
    assert everything(fleet) == set()


def test_an_unregistered_name_is_refused(fleet: Fleet) -> None:
    with pytest.raises(UnknownJob, match=r"'os\.system'"):
        fleet.enqueue("os.system", {})
    assert everything(fleet) == set()


def test_a_payload_over_a_mebibyte_is_refused(fleet: Fleet) -> None:
    with pytest.raises(PayloadTooLarge):
        samples.gate.enqueue({"folder": "x" * (1024 * 1024)})
    assert everything(fleet) == set()
    assert samples.gate.enqueue({"folder": "x" * (1024 * 1023)}).status == "queued"


def test_a_secret_without_a_key_is_refused(fleet: Fleet) -> None:
    with pytest.raises(MissingEncryptionKey, match="ENCRYPTION_KEYS"):
        samples.sealed.enqueue({"key": "canary-5eb1"})
    assert everything(fleet) == set()


def test_a_secret_lies_encrypted_in_redis_and_prints_as_stars(environ: dict[str, str]) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    fleet = connect(Settings.from_env({**environ, "ENCRYPTION_KEYS": old})).discover()
    view = samples.sealed.enqueue({"key": "canary-5eb1"})
    data = fleet.redis.hget(keys.job(view.id), "data") or b""
    assert b"canary" not in data
    assert "canary" not in repr(samples.Sealed.model_validate({"key": "canary-5eb1"}))
    assert "canary" not in samples.Sealed.model_validate({"key": "canary-5eb1"}).model_dump_json()
    token = json.loads(json.loads(data)[2][1])["key"]["$secret"]
    rotated = connect(Settings.from_env({**environ, "ENCRYPTION_KEYS": f"{new},{old}"}))
    assert json.loads(rotated.keys.decrypt(token)) == "canary-5eb1"


def test_a_secret_of_the_wrong_type_is_refused_without_quoting_it(fleet: Fleet) -> None:
    with pytest.raises(InvalidPayload) as refused:
        samples.sealed.enqueue({"key": ["canary-5eb1"]})
    assert "canary" not in str(refused.value)
    assert refused.value.problems == [{"field": "key", "message": "Value error, must be str"}]


def test_a_batch_is_one_round_trip(fleet: Fleet) -> None:
    samples.double.enqueue({"value": 0})
    before = fleet.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    views = samples.double.enqueue_many([{"value": n} for n in range(200)])
    after = fleet.redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before == 1
    assert [view.status for view in views] == ["queued"] * 200
    waiting = fleet.redis.lrange(keys.queue("default"), 1, -1)
    assert waiting == [view.id.encode() for view in views]


def test_a_very_large_batch_arrives_whole_and_in_order(fleet: Fleet) -> None:
    fleet.redis.script_flush()
    views = samples.double.enqueue_many({"value": n} for n in range(1001))
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [view.id.encode() for view in views]


def test_priority_and_front_choose_queue_and_end(fleet: Fleet) -> None:
    first = samples.double.enqueue({})
    second = samples.double.enqueue({}, at_front=True)
    urgent = samples.double.enqueue({}, priority=Queue.CRITICAL)
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [second.id.encode(), first.id.encode()]
    assert fleet.redis.lrange(keys.queue("critical"), 0, -1) == [urgent.id.encode()]
    assert urgent.queue == "critical"


def test_a_delayed_job_waits_in_rqs_scheduled_registry(fleet: Fleet) -> None:
    when = datetime.now(UTC) + timedelta(hours=2)
    at = samples.double.enqueue_at(when, {})
    soon = samples.double.enqueue_in(timedelta(minutes=5), {})
    registry = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer).scheduled_job_registry
    assert registry.get_job_ids() == [soon.id, at.id]
    assert abs(registry.get_scheduled_time(at.id) - when) < timedelta(seconds=1)
    view = fleet.jobs.get(at.id)
    assert (view.status, view.scheduled_for) == ("scheduled", when)
    assert fleet.redis.llen(keys.queue("default")) == 0


@pytest.mark.parametrize("wait", [timedelta(seconds=-1), timedelta(days=40_000)])
def test_a_delay_that_makes_no_sense_is_refused(fleet: Fleet, wait: timedelta) -> None:
    with pytest.raises(InvalidPayload):
        samples.double.enqueue_in(wait, {})
    assert everything(fleet) == set()


def test_a_time_without_a_zone_is_refused(fleet: Fleet) -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001
    with pytest.raises(InvalidPayload, match="time zone"):
        samples.double.enqueue_at(naive, {})
    with pytest.raises(InvalidPayload, match="time zone"):
        samples.double.enqueue({}, deadline=naive)


@pytest.mark.parametrize("job_id", ["a:b", "a\nb", "", "ä", "x" * 129])
def test_a_job_id_that_rq_could_not_hold_is_refused(fleet: Fleet, job_id: str) -> None:
    if job_id == "":
        assert samples.double.enqueue({}, job_id=job_id).id
        return
    with pytest.raises(InvalidPayload):
        samples.double.enqueue({}, job_id=job_id)
    assert everything(fleet) == set()


def test_the_same_id_twice_is_one_job(fleet: Fleet) -> None:
    first = samples.double.enqueue({"value": 1}, job_id="the-one")
    second = samples.double.enqueue({"value": 2}, job_id="the-one")
    assert (first.id, second.id) == ("the-one", "the-one")
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [b"the-one"]
    job = Job.fetch("the-one", connection=fleet.redis, serializer=JSONSerializer)
    assert job.args[1] == '{"value":1}'


def test_an_idempotency_key_stands_for_one_job_a_tenant_and_type(fleet: Fleet) -> None:
    first = samples.double.enqueue({"value": 1}, idempotency_key="k", tenant="a")
    again = samples.double.enqueue({"value": 1}, idempotency_key="k", tenant="a")
    other_tenant = samples.double.enqueue({"value": 1}, idempotency_key="k", tenant="b")
    other_type = samples.report.enqueue({"value": 1}, idempotency_key="k", tenant="a")
    assert first.id == again.id
    assert len({first.id, other_tenant.id, other_type.id}) == 3
    with pytest.raises(IdempotencyConflict):
        samples.double.enqueue({"value": 2}, idempotency_key="k", tenant="a")
    assert fleet.redis.llen(keys.queue("default")) == 3


def test_a_unique_job_is_enqueued_once_while_it_lives(fleet: Fleet) -> None:
    first = samples.only_one.enqueue({"folder": "/tmp", "name": "a"})
    second = samples.only_one.enqueue({"folder": "/tmp", "name": "a"})
    other = samples.only_one.enqueue({"folder": "/tmp", "name": "b"})
    assert first.id == second.id != other.id
    assert fleet.redis.llen(keys.queue("default")) == 2
    fleet.jobs.cancel(first.id)
    assert samples.only_one.enqueue({"folder": "/tmp", "name": "a"}).id not in (first.id, other.id)


def test_a_unique_lock_whose_job_vanished_does_not_block(fleet: Fleet) -> None:
    first = samples.only_one.enqueue({"folder": "/tmp", "name": "a"})
    Job.fetch(first.id, connection=fleet.redis, serializer=JSONSerializer).delete()
    second = samples.only_one.enqueue({"folder": "/tmp", "name": "a"})
    assert second.id != first.id
    assert fleet.redis.lrange(keys.queue("default"), 0, -1) == [second.id.encode()]


def test_tenant_and_correlation_id_come_from_the_context(fleet: Fleet) -> None:
    with structlog.contextvars.bound_contextvars(correlation_id="c-1", tenant="acme"):
        view = samples.double.enqueue({})
    assert (view.correlation_id, view.tenant) == ("c-1", "acme")
    stored = fleet.jobs.get(view.id, tenant="acme")
    assert (stored.correlation_id, stored.tenant) == ("c-1", "acme")


def test_without_redis_enqueue_says_so(environ: dict[str, str]) -> None:
    fleet = connect(Settings.from_env({**environ, "REDIS_URL": "redis://127.0.0.1:1/0"})).discover()
    with pytest.raises(BrokerUnavailable):
        samples.double.enqueue({})
    fleet.close()


def test_enqueueing_again_after_a_lost_reply_changes_nothing(fleet: Fleet) -> None:
    """The client that saw no answer sends the same prepared job once more."""
    client = fleet.client
    (prepared,) = client.prepare(samples.double, [samples.Number()])
    first = client.send([prepared])
    again = client.send([prepared])
    assert first[0].id == again[0].id
    assert fleet.redis.llen(keys.queue("default")) == 1
    assert len(fleet.events.read(f"job:{first[0].id}", tenant="")) == 1


def test_a_script_flush_is_noticed_and_mended(fleet: Fleet) -> None:
    samples.double.enqueue({})
    fleet.redis.script_flush()
    assert samples.double.enqueue({}).status == "queued"


class Free(Payload):
    text: str
    numbers: dict[str, float] = {}


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet=st.characters(codec="utf-8")),
    numbers=st.dictionaries(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_every_payload_survives_the_wire_and_its_signature(fleet: Fleet, text: str, numbers: dict[str, float]) -> None:
    from jobs.engine import envelope, payloads

    payload = Free(text=text, numbers=numbers)
    sealed = envelope.Envelope("id-1", "tests.free", payloads.dump(payload, None), "t", "c")
    call = envelope.decode(fleet.keys.seal("tests.free", "t").data("id-1", sealed.payload, "c"))
    verified = fleet.keys.verify("id-1", *call.args)
    assert verified == sealed
    assert payloads.load(Free, verified.payload, None) == payload


def test_redis_that_is_full_refuses_new_jobs_clearly(fleet: Fleet) -> None:
    samples.double.enqueue({})
    fleet.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable, match="full"):
            samples.double.enqueue({})
    finally:
        fleet.redis.config_set("maxmemory", "0")
    assert isinstance(fleet.redis, redis.Redis)
