"""Dead letters of one tenant: another's are neither seen, counted, run again nor thrown away."""

from __future__ import annotations

import pytest

from jobs.engine import Fleet, JobView, NotFound
from jobs.engine.dead_letters import Where
from tests.engine.dead_letters.conftest import failure, ids, let_die

OURS, THEIRS = "ours", "theirs"


@pytest.fixture
def letters(fleet: Fleet) -> list[JobView]:
    """Two of ours with different errors, and one of theirs with the first of these."""
    jobs = [
        fleet.enqueue("mortal.orders", {"folder": str(number)}, tenant=tenant)
        for number, tenant in enumerate((OURS, OURS, THEIRS))
    ]
    paper, ink = failure("out of paper"), failure("out of ink")
    let_die(fleet, jobs, paper, ink, paper)
    return jobs


def test_a_tenant_finds_counts_and_opens_its_own_alone(fleet: Fleet, letters: list[JobView]) -> None:
    desk = fleet.dead_letters
    mine = [letter.id for letter in desk.find(tenant=OURS).items]
    assert mine == [letters[1].id, letters[0].id]
    assert sum(group.count for group in desk.groups(tenant=OURS).items) == 2
    assert sum(group.count for group in desk.groups().items) == 3
    assert desk.plan(tenant=OURS).count == 2
    assert desk.get(letters[0].id, OURS).payload["folder"] == "0"
    for ask in (desk.get, lambda job_id, tenant: desk.retry_one(job_id, by="me", tenant=tenant)):
        with pytest.raises(NotFound):
            ask(letters[2].id, OURS)
    with pytest.raises(NotFound):
        desk.discard_one(letters[2].id, by="me", tenant=OURS)
    assert len(ids(fleet)) == 3


@pytest.mark.parametrize("where", [Where(), Where(tenant=THEIRS), Where(text="paper")])
def test_a_bound_that_reaches_beyond_the_tenants_own_is_refused(
    fleet: Fleet, letters: list[JobView], where: Where
) -> None:
    desk = fleet.dead_letters
    bound = desk.plan(where).bound
    for act in (desk.retry, desk.discard):
        with pytest.raises(NotFound):
            act(bound, by="me", tenant=OURS)
    assert len(ids(fleet)) == 3


def test_asking_for_anothers_by_a_filter_finds_nothing(fleet: Fleet, letters: list[JobView]) -> None:
    for ask in (fleet.dead_letters.find, fleet.dead_letters.groups, fleet.dead_letters.plan):
        with pytest.raises(NotFound):
            ask(Where(tenant=THEIRS), tenant=OURS)


def test_a_bulk_action_of_a_tenant_touches_its_own_alone(fleet: Fleet, letters: list[JobView]) -> None:
    desk = fleet.dead_letters
    done = desk.discard(desk.plan(Where(text="paper"), OURS).bound, by="me", tenant=OURS)
    assert done.done == 1
    assert set(ids(fleet)) == {letters[1].id, letters[2].id}


def test_groups_are_counted_by_any_filter_and_page_by_page(fleet: Fleet) -> None:
    jobs = [fleet.enqueue("mortal.orders", {"folder": str(number)}, tenant=OURS) for number in range(6)]
    let_die(fleet, jobs, *(failure(f"{word} is missing") for word in ("paper", "ink", "paper", "ink", "ink", "glue")))
    everything = fleet.dead_letters.groups(Where(type="mortal.orders"))
    assert sorted(group.count for group in everything.items) == [1, 2, 3]
    assert everything.next_cursor is None
    (ink,) = fleet.dead_letters.groups(Where(text="ink is")).items
    assert (ink.count, ink.example, ink.text) == (3, jobs[4].id, "LookupError: ink is missing")
    assert ink.first_at < ink.last_at
