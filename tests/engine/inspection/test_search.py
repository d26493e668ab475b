"""Jobs in Redis are found by all that is known of them, newest first, page after page, each once."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.inspection import Where
from tests.engine.inspection.conftest import DONE, enqueue, failed, ids, run
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import gated, mortal
from tests.engine.samples import jobs as samples


def test_every_state_is_found_by_its_name_and_all_without(fleet: Fleet, every_state: dict[str, str]) -> None:
    for state, job_id in every_state.items():
        assert ids(fleet, Where(state=state)) == [job_id], state
    everything = ids(fleet)
    assert sorted(everything) == sorted(every_state.values())
    views = fleet.inspection.find().items
    assert {view.id: view.status for view in views} == {job_id: state for state, job_id in every_state.items()}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"tenant": "ours"}, ["queued", "scheduled", "cancelled", "completed"]),
        ({"tenant": ""}, ["started", "quarantined"]),
        ({"type": "samples.double", "tenant": "theirs"}, ["failed"]),
        ({"type": "samples.nothing"}, []),
        ({"queue": "default", "state": "queued"}, ["queued"]),
        ({"queue": "low"}, []),
        ({"lane": "default", "tenant": "theirs"}, ["failed"]),
        ({"lane": "chat"}, []),
        ({"error": "DISK"}, ["failed"]),
        ({"error": "oserror"}, ["failed"]),
        ({"error": "di%k"}, []),
        ({"text": "disk is"}, ["failed"]),
        ({"field": "value", "value": "6"}, ["scheduled"]),
        ({"field": "value", "value": "66"}, []),
        ({"field": "nothing", "value": "6"}, []),
        ({"field": "value", "value": "2", "state": "failed", "error": "full"}, ["failed"]),
        ({"field": "value", "value": "2", "state": "queued"}, []),
    ],
)
def test_all_that_is_asked_for_has_to_hold(
    fleet: Fleet, every_state: dict[str, str], where: dict[str, Any], found: list[str]
) -> None:
    assert sorted(ids(fleet, Where(**where))) == sorted(every_state[name] for name in found)


def test_an_id_is_found_first(fleet: Fleet, every_state: dict[str, str]) -> None:
    for job_id in every_state.values():
        assert ids(fleet, Where(text=job_id)) == [job_id]
    assert ids(fleet, Where(text=every_state["failed"], tenant="ours")) == []
    assert ids(fleet, Where(text=every_state["failed"], state="queued")) == []


def test_time_bounds_when_jobs_were_enqueued(fleet: Fleet) -> None:
    first = enqueue(1)
    between = datetime.now(UTC)
    second = enqueue(2)
    assert ids(fleet, Where(until=between)) == [first.id]
    assert ids(fleet, Where(since=between)) == [second.id]
    assert ids(fleet, Where(since=between, until=between + timedelta(hours=1))) == [second.id]
    assert ids(fleet, Where(since=datetime.now(UTC))) == []


def test_the_newest_come_first_whatever_their_state(fleet: Fleet) -> None:
    """Those that ended within one second, as RQ writes it, in any order."""
    ended = [run(fleet, enqueue(n), [DONE, failed()][n % 2]).id for n in range(6)]
    queued = [enqueue(n).id for n in range(6)]
    found = ids(fleet, limit=5)
    assert found[:6] == queued[::-1]
    assert sorted(found[6:]) == sorted(ended)


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_hold_each_job_once(fleet: Fleet, limit: int) -> None:
    queued = [job.id for job in samples.double.enqueue_many([{"value": n} for n in range(60)])]
    ended = end(fleet, queued[:30])
    found = ids(fleet, limit=limit)
    assert sorted(found[:30]) == sorted(ended), "they changed last"
    assert found[30:] == queued[:29:-1]


def test_pages_go_on_where_they_were_though_jobs_come_and_go(fleet: Fleet) -> None:
    queued = [job.id for job in samples.double.enqueue_many([{"value": n} for n in range(400)])]
    page = fleet.inspection.find(Where(state="queued"), limit=100)
    samples.double.enqueue_many([{"value": n} for n in range(300)])
    fleet.jobs.cancel(queued[350])
    end(fleet, queued[:50])
    found = [view.id for view in page.items]
    while page.next_cursor:
        page = fleet.inspection.find(Where(state="queued"), limit=100, cursor=page.next_cursor)
        found += [view.id for view in page.items]
    assert found == queued[:49:-1]


def test_pages_of_ended_jobs_go_on_though_the_last_one_shown_is_gone(fleet: Fleet) -> None:
    failures = [run(fleet, enqueue(n), failed(f"disk {n}")).id for n in range(9)]
    page = fleet.inspection.find(Where(state="failed"), limit=3)
    shown = [view.id for view in page.items]
    for job_id in {*shown, failures[5]}:
        fleet.inspection.discard(job_id, by="ada")
    rest = fleet.inspection.find(Where(state="failed"), cursor=page.next_cursor)
    assert sorted({*shown, *(view.id for view in rest.items)}) == sorted(set(failures) - ({failures[5]} - set(shown)))


def test_what_is_put_aside_waits_too(fleet: Fleet) -> None:
    """Before limits and turns, and for a full lane."""
    filed = [gated.flow.enqueue({"flow_id": "f"}).id for _ in range(3)]
    turns = [gated.fair.enqueue({"tenant_id": tenant}).id for tenant in ("a", "b", "a", "b")]
    assert fleet.redis.zcard(keys.GATES) > 1
    assert sorted(ids(fleet, Where(state="queued"))) == sorted(filed + turns)
    assert sorted(ids(fleet, Where(state="queued"), limit=1)) == sorted(filed + turns)


def test_jobs_of_plain_rq_clients_are_found(fleet: Fleet) -> None:
    queue = Queue("other", connection=fleet.redis, serializer=JSONSerializer)
    job = queue.enqueue("os.getcwd")
    waits = queue.enqueue("os.getcwd", depends_on=job)
    assert ids(fleet, Where(type="os.getcwd()")) == [waits.id, job.id]
    assert ids(fleet, Where(state="deferred")) == [waits.id]
    assert ids(fleet, Where(queue="other", state="queued")) == [job.id]


def test_a_payloads_text_is_found_whatever_stands_in_it(fleet: Fleet) -> None:
    for note in ("plain", 'with "quotes"', "back\\slash", "\u00fcber \u2019", "1e5", "x" * 9000, "a/b c@d:e"):
        job = mortal.orders.enqueue({"folder": "f", "note": note})
        assert ids(fleet, Where(field="note", value=note[:1000])) == ([] if len(note) > 1000 else [job.id]), note


def test_secrets_are_not_found_by_their_values(fleet: Fleet) -> None:
    mortal.orders.enqueue({"folder": "token=abcdef", "note": "n"})
    assert ids(fleet, Where(field="folder", value="token=abcdef")) == []
    assert len(ids(fleet, Where(field="note", value="n"))) == 1


def test_a_page_says_how_far_it_looked_and_goes_on(fleet: Fleet) -> None:
    lost = enqueue(1, tenant="rare")
    for _ in range(30):
        samples.double.enqueue_many([{"value": n} for n in range(1000)], tenant="common")
    page = fleet.inspection.find(Where(tenant="rare"))
    looked = [page.looked]
    while not page.items:
        assert page.next_cursor is not None
        page = fleet.inspection.find(Where(tenant="rare"), cursor=page.next_cursor)
        looked.append(page.looked)
    assert [view.id for view in page.items] == [lost.id]
    assert max(looked) <= 20_500 and sum(looked) >= 30_000


def test_a_page_asks_redis_for_as_much_however_many_jobs_there_are(fleet: Fleet) -> None:
    costs = []
    for _ in range(3):
        for _ in range(4):
            samples.double.enqueue_many([{"value": n} for n in range(500)])
        fleet.redis.config_resetstat()
        fleet.inspection.find(Where(state="queued"))
        stats: dict[str, dict[str, int]] = fleet.redis.info("commandstats")
        costs.append(sum(each["calls"] for each in stats.values()))
    assert max(costs) - min(costs) < 5 and max(costs) < 1000


def test_a_tenant_sees_nothing_of_others(fleet: Fleet, every_state: dict[str, str]) -> None:
    assert sorted(ids(fleet, tenant="theirs")) == [every_state["failed"]]
    assert ids(fleet, Where(tenant="ours"), tenant="theirs") == []
    assert ids(fleet, Where(text=every_state["queued"]), tenant="theirs") == []
    assert ids(fleet, Where(field="value", value="7"), tenant="theirs") == []


@pytest.mark.parametrize(
    "where",
    [
        {"state": "unknown"},
        {"state": "running"},
        {"type": ""},
        {"type": "x" * 201},
        {"tenant": "a\x00b"},
        {"error": "\x1b[31m"},
        {"text": ""},
        {"field": "value"},
        {"value": "1"},
        {"field": "a b", "value": "1"},
        {"field": "__proto__[x]", "value": "1"},
        {"field": "value", "value": "\ud800"},
        {"since": "yesterday"},
        {"until": 10**20},
        {"no_such": "filter"},
    ],
)
def test_what_makes_no_sense_is_refused(where: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Where(**where)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "e30",
        "W10=",
        "bnVsbA==",
        "eyJhIjogWyJ4IiwgInkiLCAieiJdfQ==",
        "eyJhIjogWyIxIiwgMiwgIiJdfQ==",
        "A" * 9000,
        "\u00e9",
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(fleet: Fleet, cursor: str) -> None:
    with pytest.raises(ValueError, match=r"cursor|written|long"):
        fleet.inspection.find(cursor=cursor)


@pytest.mark.parametrize(
    "place", [["inf", "x"], ["1.5", "x"], ["", "x"], ["9999999999999999", "x"], ["1e+99", "x", "k"]]
)
def test_a_made_up_place_finds_something_or_is_refused(
    fleet: Fleet, every_state: dict[str, str], place: list[str]
) -> None:
    names = ["aside", "started", "filed", "queue default", "scheduled default", "failed default", "ledger"]
    for name in names:
        cursor = base64.urlsafe_b64encode(zlib.compress(json.dumps({name: place}).encode())).decode()
        try:
            assert {view.id for view in fleet.inspection.find(cursor=cursor).items} <= set(every_state.values())
        except ValueError:
            assert name == "ledger"


def test_a_cursor_over_many_queues_is_short_enough_for_an_address(fleet: Fleet) -> None:
    for n in range(30):
        queue = Queue(f"queue-with-a-long-name-{n}", connection=fleet.redis, serializer=JSONSerializer)
        for _ in range(3):
            queue.enqueue("os.getcwd")
    page = fleet.inspection.find(limit=5)
    assert page.next_cursor is not None and len(page.next_cursor) < 2500
    assert len(ids(fleet, limit=10)) == 27 * 3, "thirty queues in all, ours among them"


def end(fleet: Fleet, job_ids: list[str]) -> list[str]:
    """Have these, which stand first in their queue, fail."""
    leases = leases_of(fleet)
    runs = []
    while len(runs) < len(job_ids):
        runs += lease(leases, min(100, len(job_ids) - len(runs)))
    assert [each.job_id for each in runs] == job_ids
    settle(leases, *((each, failed()) for each in runs))
    return job_ids
