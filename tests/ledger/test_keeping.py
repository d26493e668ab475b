"""Whatever dies between the commit and Redis, a durable job is relayed within seconds, once, in order."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import event, update
from structlog.testing import capture_logs

from jobs.engine import BrokerUnavailable, Fleet, broker, keys
from jobs.engine.ledger.audit import SETTLED
from jobs.engine.ledger.backlog import backlog
from jobs.engine.ledger.excuses import LACKS_SCHEMA
from jobs.engine.ledger.relay import Relay
from jobs.engine.ledger.table import JOBS
from jobs.engine.server_names import Naming
from tests.conftest import RedisServer, wait_until
from tests.ledger.conftest import row_of, told, unpushed, until
from tests.ledger.samples import durable

WITHIN = 20.0
DIES_AT_THE_COMMIT = """
import os, signal, sys
from jobs.engine import connect
from jobs.engine.database import AFTERWARDS
from jobs.settings import Settings
fleet = connect(Settings.from_env()).discover()
from tests.ledger.samples import durable
fleet.ledger.fence()
with fleet.database.begin() as session:
    session.info[AFTERWARDS].append(lambda: os.kill(os.getpid(), signal.SIGKILL))
    durable.tell.enqueue({"folder": sys.argv[1]}, session=session, job_id="orphan")
"""
DIES_AS_KEEPER = """
import os, signal, sys, time
from sqlalchemy import event
from jobs.engine import connect
from jobs.settings import Settings
fleet = connect(Settings.from_env()).discover()
taken = []

def executes(connection, cursor, statement, *rest):
    if statement.startswith("UPDATE ledger_jobs"):
        taken.append(statement)
        if sys.argv[1] == "before its last step" and "RETURNING" not in statement:
            os.kill(os.getpid(), signal.SIGKILL)

def commits(*_):
    if taken and sys.argv[1] == "after its first step":
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(fleet.database.engine, "before_cursor_execute", executes)
event.listen(fleet.database.engine, "checkin", commits)  # of a connection, after its commit
with fleet.ledger.kept("scheduler"):
    time.sleep(600)
"""


def waiting(fleet: Fleet) -> list[str]:
    return [each.decode() for each in fleet.redis.lrange(keys.queue("default"), 0, -1)]


def test_a_process_that_dies_after_its_commit_leaves_its_job_to_the_relay(
    fleet: Fleet, folder: Path, spawn: Callable[..., subprocess.Popen[bytes]]
) -> None:
    dead = spawn("-c", DIES_AT_THE_COMMIT, str(folder))
    assert dead.wait(60) == -signal.SIGKILL
    row = row_of(fleet, "orphan")
    assert row is not None
    assert row["step"] == "pushing"
    assert waiting(fleet) == []
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: waiting(fleet) == ["orphan"], WITHIN)
        until(fleet, "orphan", lambda row: row["step"] == "pushed")


def test_while_redis_is_away_jobs_wait_in_the_ledger_and_are_then_relayed_in_order(
    fleet: Fleet, folder: Path, own_redis: RedisServer
) -> None:
    with fleet.ledger.kept("web"):
        own_redis.stop(signal.SIGKILL)
        jobs = []
        for _ in range(5):
            with fleet.database.begin() as session:
                jobs += durable.tell.enqueue_many([{"folder": str(folder)}] * 2, session=session)
        assert {each.queued for each in jobs} == {"ledger"}
        assert {row_of(fleet, each.id)["step"] for each in jobs} == {"pending"}
        assert fleet.jobs.get(jobs[0].id).status == "queued", "the row tells while Redis is away"
        assert fleet.jobs.cancel(jobs[3].id).status == "cancelled"
        own_redis.start()
        wait_until(lambda: len(waiting(fleet)) == len(jobs) - 1, WITHIN)
    assert waiting(fleet) == [each.id for each in jobs if each is not jobs[3]]


@pytest.mark.usefixtures("whatever_database")
def test_a_redis_that_hangs_does_not_reach_who_committed(fleet: Fleet, folder: Path, own_redis: RedisServer) -> None:
    fleet.ledger.fence()
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    jobs = [durable.tell.enqueue({"folder": str(folder)}) for _ in range(3)]
    assert {each.queued for each in jobs} == {"ledger"}
    assert time.monotonic() - began < 10, "only the first waited for Redis, and not for long"
    assert [row_of(fleet, each.id)["step"] for each in jobs] == ["pushing", "pending", "pending"]
    own_redis.process.send_signal(signal.SIGCONT)
    with fleet.ledger.kept("web"):
        wait_until(lambda: sorted(waiting(fleet)) == sorted(each.id for each in jobs), WITHIN)


@pytest.mark.parametrize(("moment", "arrived"), [("after its first step", 0), ("before its last step", 50)])
def test_a_keeper_killed_between_its_steps_is_replaced_and_no_job_comes_twice(
    fleet: Fleet, folder: Path, spawn: Callable[..., subprocess.Popen[bytes]], moment: str, arrived: int
) -> None:
    jobs = [each.id for each in unpushed(fleet, durable.tell, [{"folder": str(folder)}] * 50)]
    assert spawn("-c", DIES_AS_KEEPER, moment).wait(60) == -signal.SIGKILL
    assert {row_of(fleet, job_id)["step"] for job_id in jobs} == {"pushing"}
    assert len(waiting(fleet)) == arrived
    with fleet.ledger.kept("worker"):
        for job_id in jobs:
            until(fleet, job_id, lambda row: row["step"] == "pushed")
    assert waiting(fleet) == jobs


def test_relays_side_by_side_push_each_job_once(
    fleet: Fleet, folder: Path, spawn_worker: Callable[..., object]
) -> None:
    jobs = [each.id for each in unpushed(fleet, durable.tell, [{"folder": str(folder)}] * 400)]
    epoch = "the-same-life"
    fleet.redis.set(keys.LEDGER_EPOCH, epoch)
    servers = [Naming() for _ in range(4)]
    clients = [broker.connect(fleet.settings, purpose="test", naming=each) for each in servers]
    relays = [Relay(fleet, client, server) for client, server in zip(clients, servers, strict=True)]
    spawn_worker()

    def turn(relay: Relay) -> None:
        while unfinished(fleet):
            with suppress(BrokerUnavailable):
                relay.turn(epoch)

    with ThreadPoolExecutor(len(relays)) as pool:
        list(pool.map(turn, relays))
    assert sorted(told(folder)) == sorted(jobs)


def unfinished(fleet: Fleet) -> bool:
    return bool(fleet.ledger.search(states=["queued", "started", "scheduled"], limit=1).items)


@pytest.mark.usefixtures("whatever_database")
def test_the_lead_goes_to_who_has_least_else_to_do_and_on_when_it_is_given_up(fleet: Fleet) -> None:
    with fleet.ledger.kept("worker") as worker:
        wait_until(lambda: worker.leads)
        with fleet.ledger.kept("scheduler") as scheduler:
            worker.stop()
            wait_until(lambda: scheduler.leads)
        assert not fleet.redis.exists(keys.LEDGER_LEAD)


@pytest.mark.usefixtures("whatever_database")
def test_a_row_of_a_type_that_this_release_does_not_know_waits_for_one_that_does(fleet: Fleet, folder: Path) -> None:
    unknown, known = unpushed(fleet, durable.tell, [{"folder": str(folder)}] * 2)
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == unknown.id).values(type="durable.of_tomorrow"))
    with fleet.ledger.kept("scheduler"):
        until(fleet, known.id, lambda row: row["step"] == "pushed")
    assert row_of(fleet, unknown.id)["step"] == "pending"


@pytest.mark.parametrize("ahead", [timedelta(minutes=-2), timedelta(minutes=2)])
def test_the_clock_of_the_host_that_wrote_a_row_does_not_matter(fleet: Fleet, folder: Path, ahead: timedelta) -> None:
    """As if that host's clock were two minutes wrong, and it had ended before it pushed."""
    (job,) = unpushed(fleet, durable.tell, [{"folder": str(folder)}])
    with fleet.database.begin() as session:
        session.execute(update(JOBS).values(step_at=datetime.now(UTC) + ahead))
    assert backlog(fleet.database).rows == 1
    with fleet.ledger.kept("scheduler"):
        until(fleet, job.id, lambda row: row["step"] == "pushed")
        lose(fleet, job.id, ahead)
        wait_until(lambda: fleet.redis.exists(keys.job(job.id)))


def lose(fleet: Fleet, job_id: str, ahead: timedelta) -> None:
    """Redis forgets a job that a host of that clock has pushed."""
    settled = ahead if ahead > timedelta(0) else -SETTLED
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == job_id).values(step_at=datetime.now(UTC) + settled))
    fleet.redis.delete(keys.job(job_id))


def test_a_database_without_the_ledger_ends_no_keeper(fleet: Fleet, folder: Path) -> None:
    with fleet.database.begin() as session:
        session.connection().exec_driver_sql("ALTER TABLE ledger_jobs RENAME TO ledger_elsewhere")
    with capture_logs() as lines, fleet.ledger.kept("scheduler") as keeper:
        wait_until(lambda: keeper.failures)
        assert not keeper.leads, "another process may have what it lacks"
        wait_until(lambda: keeper.failures > 2)
        with fleet.database.begin() as session:
            session.connection().exec_driver_sql("ALTER TABLE ledger_elsewhere RENAME TO ledger_jobs")
        (job,) = unpushed(fleet, durable.tell, [{"folder": str(folder)}])
        until(fleet, job.id, lambda row: row["step"] == "pushed")
    told = [
        (line["log_level"], line.get("exc_info"), line.get("reason")) for line in lines if "keep the" in line["event"]
    ]
    assert told == [("error", False, LACKS_SCHEMA), ("info", None, None)]


@pytest.mark.usefixtures("whatever_database")
def test_what_redis_fails_at_keeps_no_other_job_out(fleet: Fleet, folder: Path) -> None:
    named = [{"folder": str(folder), "name": name} for name in ("a", "b", "c")]
    odd, broken, innocent = unpushed(fleet, durable.only_one, named)
    fleet.redis.hset(f"{keys.FLEET}:unique:{row_of(fleet, odd.id)['unique_key']}", "not", "a lock")
    with fleet.database.begin() as session:
        session.execute(update(JOBS).where(JOBS.c.id == broken.id).values(more=b"{"))
    with fleet.ledger.kept("scheduler"):
        for job in (odd, innocent):
            until(fleet, job.id, lambda row: row["step"] == "pushed")
    assert waiting(fleet) == [odd.id, innocent.id]
    assert row_of(fleet, broken.id)["step"] == "pushing"


@pytest.mark.usefixtures("whatever_database")
def test_pushing_needs_no_script_that_redis_has_forgotten(fleet: Fleet, folder: Path) -> None:
    client: redis.Redis = fleet.redis
    client.script_flush()
    job = durable.tell.enqueue({"folder": str(folder)})
    assert job.queued == "redis"
    assert waiting(fleet) == [job.id]


@pytest.mark.usefixtures("whatever_database")
def test_rows_of_types_that_nobody_knows_are_looked_at_once_a_second(fleet: Fleet, folder: Path) -> None:
    server = Naming()
    relay = Relay(fleet, broker.connect(fleet.settings, purpose="test", naming=server), server)
    epoch = fleet.ledger.fence().epoch
    unpushed(fleet, durable.tell, [{"folder": str(folder)}])
    with fleet.database.begin() as session:
        session.execute(update(JOBS).values(type="texts.of_tomorrow"))
    looks = []
    event.listen(
        fleet.database.engine, "before_cursor_execute", lambda _c, _u, text, *_: looks.append("type IN" in text)
    )
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        relay.turn(epoch)
    assert 0 < sum(looks) <= 4, "two queries a look"
    durable.tell.enqueue({"folder": str(folder)})
