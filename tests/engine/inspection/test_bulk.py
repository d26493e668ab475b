"""Actions by filter: a dry run says how many, and no more than that is touched, in batches, however often."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import Fleet, NotFound, keys
from jobs.engine.inspection import Where
from jobs.engine.inspection.places import Bound, bound_text
from jobs.engine.scripts import script
from tests.engine.inspection.conftest import DONE, enqueue, failed, ids, run, states
from tests.engine.leases import lease, leases_of, settle
from tests.engine.samples import gated, mortal
from tests.engine.samples import jobs as samples

FITS = {
    "retry": {"failed", "cancelled", "quarantined"},
    "cancel": {"queued", "scheduled", "started"},
    "discard": {"failed", "cancelled", "quarantined", "completed"},
    "promote": {"scheduled"},
}
BECOMES = {"retry": "queued", "cancel": "cancelled", "discard": "gone", "promote": "queued"}


@pytest.mark.parametrize("verb", FITS)
def test_an_action_touches_the_states_that_it_fits_and_no_others(
    fleet: Fleet, every_state: dict[str, str], verb: str
) -> None:
    fleet.redis.hset(keys.job("strange"), "data", "x")
    plan = fleet.inspection.plan(Where(), verb)
    assert (plan.count, plan.more) == (len(FITS[verb]), False)
    assert {view.status for view in plan.shown} == FITS[verb]
    assert states(fleet, list(every_state.values())) == list(every_state), "a dry run changes nothing"
    done = fleet.inspection.carry_out(plan.bound, by="ada")
    assert (done.done, done.refused, done.next_cursor) == (len(FITS[verb]), 0, None)
    for state, job_id in every_state.items():
        expected = "started" if state == "started" else BECOMES[verb] if state in FITS[verb] else state
        assert states(fleet, [job_id]) == [expected], state
    assert fleet.redis.hexists(keys.job(every_state["started"]), "cancel_requested") == (verb == "cancel")
    again = fleet.inspection.carry_out(plan.bound, by="ada")
    assert again.done == (1 if verb == "cancel" else 0), "the one that still runs is asked again"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"text": "QUEUED"}, ["queued"]),
        ({"tenant": "ours"}, ["queued", "scheduled"]),
        ({"state": "scheduled"}, ["scheduled"]),
        ({"lane": "chat"}, []),
    ],
)
def test_a_filter_narrows_it(
    fleet: Fleet, every_state: dict[str, str], where: dict[str, Any], found: list[str]
) -> None:
    if "text" in where:
        where = {"text": every_state["queued"]}
    plan = fleet.inspection.plan(Where(**where), "cancel")
    assert plan.count == fleet.inspection.carry_out(plan.bound, by="ada").done == len(found)
    for name in ("queued", "scheduled"):
        assert states(fleet, [every_state[name]]) == ["cancelled" if name in found else name]


@pytest.mark.parametrize("most", [7, 100, 10_000])
def test_it_goes_on_from_a_cursor_until_all_are_done(fleet: Fleet, most: int) -> None:
    """Cancelling takes ids out of the very list through which it goes."""
    queued = [job.id for job in samples.double.enqueue_many([{"value": n} for n in range(250)])]
    kept = samples.report.enqueue_many([{"value": n} for n in range(20)])
    plan = fleet.inspection.plan(Where(type="samples.double"), "cancel")
    assert plan.count == 250
    cursor, calls, done = None, 0, 0
    while calls == 0 or cursor:
        step = fleet.inspection.carry_out(plan.bound, by="ada", most=most, cursor=cursor)
        cursor, calls, done = step.next_cursor, calls + 1, done + step.done
        assert step.done <= most and step.refused == 0
    assert done == 250 and calls >= 250 / most
    assert set(states(fleet, queued)) == {"cancelled"}
    assert [member.decode() for member in fleet.redis.lrange(keys.queue("default"), 0, -1)] == [job.id for job in kept]


def test_what_came_later_is_not_touched(fleet: Fleet) -> None:
    old = run(fleet, enqueue(), failed())
    plan = fleet.inspection.plan(Where(), "retry")
    new = run(fleet, enqueue(), failed())
    assert fleet.inspection.carry_out(plan.bound, by="ada").done == 1
    assert states(fleet, [old.id, new.id]) == ["queued", "failed"]
    run(fleet, old, failed())
    assert fleet.inspection.carry_out(plan.bound, by="ada").done == 0, "it has died anew"
    assert states(fleet, [old.id, new.id]) == ["failed", "failed"]


def test_a_job_that_began_since_is_not_cancelled(fleet: Fleet) -> None:
    jobs = [enqueue(n) for n in range(3)]
    plan = fleet.inspection.plan(Where(state="queued"), "cancel")
    lease(leases_of(fleet))
    assert fleet.inspection.carry_out(plan.bound, by="ada").done == 2
    assert states(fleet, [job.id for job in jobs]) == ["started", "cancelled", "cancelled"]


def test_scripts_look_once_more_at_what_was_found(fleet: Fleet) -> None:
    """What becomes of a job between the look at it and the action."""
    started, delayed = run(fleet, enqueue()).id, samples.double.enqueue_in(timedelta(hours=1), {"value": 1}).id
    now = "2026-01-01T00:00:00.000000Z"
    assert script("cancel")(fleet.redis, keys.PREFIX, started, now, 60, "", "queued") == b"changed"
    assert script("cancel")(fleet.redis, keys.PREFIX, "nothing", now, 60, "", "queued") == b"changed"
    assert script("promote")(fleet.redis, keys.PREFIX, delayed, now, "", "queued") == b"changed"
    assert states(fleet, [started, delayed]) == ["started", "scheduled"]
    assert not fleet.redis.hexists(keys.job(started), "cancel_requested")


def test_what_refuses_is_left_and_says_why(fleet: Fleet, folder: Any) -> None:
    one = mortal.unique.enqueue({"folder": str(folder), "number": 1})
    run(fleet, one, failed())
    holder = mortal.unique.enqueue({"folder": str(folder), "number": 1})
    plan = fleet.inspection.plan(Where(type="mortal.unique"), "retry")
    done = fleet.inspection.carry_out(plan.bound, by="ada")
    assert (done.done, done.refused) == (0, 1)
    assert done.refusals[0].id == one.id and holder.id in done.refusals[0].reason


def test_who_ran_it_again_is_known(fleet: Fleet) -> None:
    job = run(fleet, enqueue(), failed())
    fleet.inspection.carry_out(fleet.inspection.plan(Where(), "retry").bound, by="ada")
    assert fleet.inspection.get(job.id).retried_by == "ada"


def test_places_that_were_waited_for_are_given_on(fleet: Fleet) -> None:
    """Cancelled and promoted in bulk, jobs leave and take their places before gates."""
    waiting = [gated.flow.enqueue({"flow_id": "f"}).id for _ in range(3)]
    delayed = gated.flow.enqueue_in(timedelta(hours=1), {"flow_id": "f"}).id
    fleet.inspection.carry_out(fleet.inspection.plan(Where(state="queued"), "cancel").bound, by="ada")
    fleet.inspection.carry_out(fleet.inspection.plan(Where(), "promote").bound, by="ada")
    assert states(fleet, waiting) == ["cancelled"] * 3
    (running,) = lease(leases_of(fleet))
    assert running.job_id == delayed
    assert settle(leases_of(fleet), (running, DONE)) == ["ok"]


def test_a_tenant_plans_and_does_its_own_alone(fleet: Fleet) -> None:
    ours, theirs = enqueue(tenant="ours"), enqueue(tenant="theirs")
    plan = fleet.inspection.plan(Where(), "cancel", "ours")
    assert plan.count == 1
    everybodys = fleet.inspection.plan(Where(), "cancel")
    with pytest.raises(NotFound):
        fleet.inspection.carry_out(everybodys.bound, "ours", by="ada")
    with pytest.raises(NotFound):
        fleet.inspection.carry_out(plan.bound, "theirs", by="ada")
    with pytest.raises(NotFound):
        fleet.inspection.plan(Where(tenant="theirs"), "cancel", "ours")
    assert fleet.inspection.carry_out(plan.bound, "ours", by="ada").done == 1
    assert states(fleet, [ours.id, theirs.id]) == ["cancelled", "queued"]


def test_an_action_that_the_state_does_not_allow_is_refused(fleet: Fleet) -> None:
    for verb, state in (("cancel", "completed"), ("retry", "queued"), ("promote", "failed"), ("discard", "started")):
        with pytest.raises(ValueError, match=f"{verb} is for jobs that are"):
            fleet.inspection.plan(Where(state=state), verb)
    with pytest.raises(ValueError, match="no action"):
        fleet.inspection.plan(Where(), "explode")


@pytest.mark.parametrize("bound", ["x", "", "e30=", "WzEsMiwzLDRd", "A" * 9000])
def test_a_bound_that_is_none_of_ours_is_refused(fleet: Fleet, bound: str) -> None:
    enqueue()
    with pytest.raises(ValueError, match=r"bound|written|long"):
        fleet.inspection.carry_out(bound, by="ada")
    assert len(ids(fleet, Where(state="queued"))) == 1


def test_a_bound_with_another_number_touches_no_more_than_that(fleet: Fleet) -> None:
    for n in range(5):
        enqueue(n)
    done = fleet.inspection.carry_out(bound_text(Bound("cancel", Where(), "9999", 2)), by="ada")
    assert (done.done, done.next_cursor) == (2, None)
