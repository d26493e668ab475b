"""The worker's calls under way: outcomes overtake no lease, and what was not answered is sent again and counts once."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import redis

from jobs.engine import BrokerUnavailable, Fleet
from jobs.engine.outcome import Outcome
from jobs.engine.server_names import Admission
from jobs.engine.worker.exchange import Answer, Exchange
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.engine.worker.running import Running
from jobs.engine.worker.server_clock import ServerClock
from jobs.engine.worker.settling import EndedRun, Settler
from tests.conftest import RedisServer, wait_until
from tests.engine.leases import leases_of
from tests.engine.lossy_proxy import LossyProxy
from tests.engine.samples import jobs as samples

FINISHED = Outcome("finished", value="1")


def asking(slots: int) -> Ask:
    return Ask(uuid4().hex[:20], slots * SLOT, {"default": slots * SLOT})


@pytest.fixture
def leases(fleet: Fleet) -> Leases:
    return leases_of(fleet)


@pytest.fixture
def open_exchange(fleet: Fleet, leases: Leases) -> Iterator[Callable[[], Exchange]]:
    opened: list[Exchange] = []

    def open_one() -> Exchange:
        opened.append(Exchange(fleet.redis, leases, selectors.DefaultSelector(), ServerClock()))
        return opened[-1]

    yield open_one
    for each in opened:
        each.abandon()


def answers(exchange: Exchange, count: int) -> list[Answer]:
    found = []
    for _ in range(count):
        wait_until(exchange.has_answer)
        found.append(exchange.receive())
    return found


def ended(settler: Settler, runs: list[Running]) -> list[EndedRun]:
    for run in runs:
        settler.add(run, FINISHED, time.time(), time.time())
    due = settler.due()
    settler.sent(due)
    return due


def test_outcomes_that_are_sent_while_a_lease_is_under_way_are_answered_after_it(
    fleet: Fleet, leases: Leases, open_exchange: Callable[[], Exchange]
) -> None:
    samples.double.enqueue_many([{}] * 4)
    exchange, settler = open_exchange(), Settler(fleet.redis)
    first = leases.lease(asking(2)).runs
    exchange.send([], asking(2))
    assert (exchange.is_leasing, exchange.leases_next, exchange.settling) == (True, True, 0)
    exchange.send(ended(settler, first), None)
    assert (exchange.leases_next, exchange.settling) == (True, 2)
    leased, written = answers(exchange, 2)
    assert leased.leased is not None
    assert len(leased.leased.runs) == 2
    assert written.settled is not None
    assert (written.settled.words, [each.running for each in written.ended]) == (["ok", "ok"], first)
    assert (exchange.give_up_at, exchange.is_leasing) == (None, False)


def test_a_lease_may_follow_outcomes_that_are_under_way(
    fleet: Fleet, leases: Leases, open_exchange: Callable[[], Exchange]
) -> None:
    samples.double.enqueue_many([{}] * 2)
    exchange, settler = open_exchange(), Settler(fleet.redis)
    exchange.send(ended(settler, leases.lease(asking(1)).runs), None)
    assert (exchange.is_leasing, exchange.leases_next) == (False, False)
    exchange.send([], asking(1))
    assert (exchange.is_leasing, exchange.leases_next) == (True, False)
    written, leased = answers(exchange, 2)
    assert (written.settled is None, leased.leased is None) == (False, False)


def test_what_was_under_way_when_the_connection_broke_is_sent_again_and_counts_once(
    fleet: Fleet, leases: Leases, open_exchange: Callable[[], Exchange]
) -> None:
    samples.double.enqueue_many([{}] * 3)
    exchange, settler = open_exchange(), Settler(fleet.redis)
    runs, ask = leases.lease(asking(2)).runs, asking(1)
    exchange.send(ended(settler, runs[:1]), ask)
    exchange.send(ended(settler, runs[1:]), None)
    wait_until(lambda: [fleet.jobs.get(run.job_id).status for run in runs] == ["completed"] * 2)
    assert [each.running for each in exchange.abandon()] == runs
    assert (settler.due(), settler.waiting) == ([], True)
    settler.postpone()
    again = wait_until(settler.due)
    exchange.send(again, ask)
    written, leased = answers(exchange, 2)
    assert written.settled is not None
    assert leased.leased is not None
    assert (written.settled.words, len(leased.leased.runs)) == (["again", "again"], 1)
    settler.settled(written.ended)
    assert not settler.waiting


def test_an_outcome_that_is_under_way_is_not_replaced_by_a_later_one(fleet: Fleet, leases: Leases) -> None:
    samples.double.enqueue({})
    settler, runs = Settler(fleet.redis), leases.lease(asking(1)).runs
    ended(settler, runs)
    settler.add(runs[0], Outcome("lost", error_type="WorkerLost", message="too late"))
    assert settler.due() == []
    settler.postpone()
    assert [each.outcome for each in wait_until(settler.due)] == [FINISHED]


def test_a_lost_answer_costs_none_of_the_calls_behind_it(
    fleet: Fleet, leases: Leases, redis_server: RedisServer
) -> None:
    samples.double.enqueue_many([{}] * 2)
    lossy = LossyProxy(redis_server.port)
    client = redis.Redis.from_url(lossy.url)
    exchange = Exchange(client, leases, selectors.DefaultSelector(), ServerClock())
    settler, runs = Settler(fleet.redis), leases.lease(asking(2)).runs
    lossy.loses_reply = lambda request, _: b"EVALSHA" in request
    exchange.send(ended(settler, runs[:1]), None)
    exchange.send(ended(settler, runs[1:]), None)
    wait_until(lambda: lossy.lost)
    with pytest.raises(BrokerUnavailable):
        exchange.receive()
    assert [each.running for each in exchange.abandon()] == runs
    lossy.close()


def test_an_outcome_is_taken_by_a_server_from_which_nothing_may_be_leased_yet(
    fleet: Fleet, leases: Leases, open_exchange: Callable[[], Exchange]
) -> None:
    class Closed(Admission):
        def admits(self, connection: object) -> bool:
            return False

    job, next_job = samples.double.enqueue_many([{}] * 2)
    settler, runs = Settler(fleet.redis), leases.lease(asking(1)).runs
    exchange, leases.admission = open_exchange(), Closed()
    assert not exchange.send(ended(settler, runs), asking(1))
    (answer,) = answers(exchange, 1)
    assert [each.running.job_id for each in answer.ended] == [job.id]
    assert (fleet.jobs.get(job.id).status, fleet.jobs.get(next_job.id).status) == ("completed", "queued")
    leases.admission = Admission()
    assert exchange.send([], asking(1))
    (answer,) = answers(exchange, 1)
    assert answer.leased is not None
    assert [each.job_id for each in answer.leased.runs] == [next_job.id]


def test_a_server_that_forgot_the_scripts_is_told_them_again_for_every_call_under_way(
    fleet: Fleet, leases: Leases, open_exchange: Callable[[], Exchange]
) -> None:
    samples.double.enqueue_many([{}] * 3)
    exchange, settler = open_exchange(), Settler(fleet.redis)
    runs = leases.lease(asking(2)).runs
    fleet.redis.script_flush()
    exchange.send(ended(settler, runs[:1]), asking(1))
    exchange.send(ended(settler, runs[1:]), None)
    first, leased, second = answers(exchange, 3)
    assert leased.leased is not None
    words = [each.settled.words if each.settled else [] for each in (first, second)]
    assert (words, len(leased.leased.runs)) == ([["ok"], ["ok"]], 1)
