"""A Redis that comes back with older data hands out no job whose row has ended, however fast its workers are."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from sqlalchemy import text

from jobs.engine import Fleet, broker, keys
from jobs.engine.ledger.following import Follower
from jobs.engine.ledger.relay import Relay
from jobs.engine.outcome import Outcome
from jobs.engine.server_names import LONGEST, NAMELESS, Admission, Naming
from tests.conftest import RedisServer, wait_until
from tests.engine.leases import lease, leases_of, settle
from tests.engine.lossy_proxy import LossyProxy
from tests.engine.samples import jobs as samples
from tests.ledger.conftest import row_of, told, until
from tests.ledger.samples import durable

NOWHERE = "sqlite:////nonexistent/none.db"


class Pair(NamedTuple):
    """A Redis, another that may become its replica, and what leads to the one that counts."""

    first: RedisServer
    second: RedisServer
    proxy: LossyProxy

    def remember(self, how: str) -> None:
        """What is there now comes back later."""
        if how == "an older file":
            redis.Redis.from_url(self.first.url).save()
            return
        replica, port = redis.Redis.from_url(self.second.url), self.first.url.split(":")[2].split("/")[0]
        replica.replicaof("127.0.0.1", port)
        wait_until(lambda: replica.info("replication").get("master_link_status") == "up")
        wait_until(lambda: replica.exists(keys.LEDGER_SERVER))
        replica.replicaof("NO", "ONE")

    def fall_back(self, how: str) -> None:
        """The first one fails, and what was remembered is there again."""
        self.first.stop(signal.SIGKILL)
        if how == "an older file":
            self.first.start()
            self.proxy.cut()
        else:
            self.proxy.lead_to(int(self.second.url.split(":")[2].split("/")[0]))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = RedisServer(tmp_path / "first"), RedisServer(tmp_path / "second")
    proxy = LossyProxy(int(first.url.split(":")[2].split("/")[0]))
    yield Pair(first, second, proxy)
    proxy.close()
    first.stop()
    second.stop()


@pytest.fixture
def environ(environ: dict[str, str], pair: Pair) -> dict[str, str]:
    return {**environ, "REDIS_URL": pair.proxy.url}


def connections(pair: Pair, how: str) -> int:
    server = pair.first if how == "an older file" else pair.second
    return int(redis.Redis.from_url(server.url).info("stats")["total_connections_received"])


def admits(client: redis.Redis, admission: Admission | None = None) -> bool:
    with client.client() as own:
        return (admission or Admission()).admits(own.connection)


def rename(fleet: Fleet, table: str, to: str) -> None:
    with fleet.database.begin() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {to}"))


@pytest.mark.parametrize("how", ["an older file", "a replica that is behind"])
@pytest.mark.usefixtures("whatever_database")
def test_workers_wait_until_the_ledger_has_looked(
    fleet: Fleet, folder: Path, pair: Pair, spawn_worker: Callable[..., Any], how: str
) -> None:
    ended = [job.id for job in durable.tell.enqueue_many([{"folder": str(folder)}] * 3)]
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.exists(keys.LEDGER_SERVER))
        pair.remember(how)
        spawn_worker(DATABASE_URL=NOWHERE)  # so that nobody but us looks
        for job_id in ended:
            until(fleet, job_id, lambda row: row["state"] == "finished")
    pair.fall_back(how)
    wait_until(lambda: connections(pair, how) > 30)
    assert sorted(told(folder)) == sorted(ended), "the worker has found it, and leases nothing"
    with fleet.ledger.kept("scheduler"):
        after = durable.tell.enqueue({"folder": str(folder)})
        until(fleet, after.id, lambda row: row["state"] == "finished")
    assert sorted(told(folder)) == sorted([*ended, after.id])
    assert {row_of(fleet, job_id)["state"] for job_id in ended} == {"finished"}


@pytest.mark.usefixtures("whatever_database")
def test_a_first_replica_keeps_no_worker_waiting(fleet: Fleet, pair: Pair) -> None:
    """It gives the server that it copies a new name, while all connections stay."""
    port = pair.first.url.split(":")[2].split("/")[0]
    with fleet.ledger.kept("scheduler"):
        noted = wait_until(lambda: fleet.redis.get(keys.LEDGER_SERVER))
        redis.Redis.from_url(pair.second.url).replicaof("127.0.0.1", port)
        wait_until(lambda: fleet.redis.get(keys.LEDGER_SERVER).split()[0] != noted.split()[0])
        assert admits(fleet.redis)


@pytest.mark.usefixtures("whatever_database")
def test_nobody_waits_where_no_keeper_notes_names_or_may_ask_for_them(fleet: Fleet) -> None:
    assert admits(fleet.redis)
    fleet.redis.set(keys.LEDGER_SERVER, f"{NAMELESS} 0-0")
    assert admits(fleet.redis)
    fleet.redis.set(keys.LEDGER_SERVER, "another 0-0")
    assert not admits(fleet.redis)


@pytest.mark.parametrize("noted", [b"\xff\xfe", b"a b", b"another " + b"x" * 30])
@pytest.mark.usefixtures("whatever_database")
def test_a_note_that_somebody_else_has_written_stops_neither_workers_nor_keepers(fleet: Fleet, noted: bytes) -> None:
    fleet.redis.set(keys.LEDGER_SERVER, noted)
    admits(fleet.redis)
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.get(keys.LEDGER_SERVER) != noted)
        assert admits(fleet.redis)


@pytest.mark.usefixtures("whatever_database")
def test_a_note_of_another_kind_stops_neither_workers_nor_keepers(fleet: Fleet) -> None:
    names = (keys.LEDGER_SERVER, keys.LEDGER_LEAD, keys.LEDGER_EPOCH)
    for name in names:
        fleet.redis.rpush(name, "no note")
    assert admits(fleet.redis)
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: [fleet.redis.type(name) for name in names] == [b"string"] * 3)


@pytest.mark.usefixtures("whatever_database")
def test_each_of_two_servers_that_answer_in_turn_is_waited_for_once(fleet: Fleet, pair: Pair) -> None:
    """As with connections to both while a replica takes over."""
    admission, servers = (
        Admission(timedelta(seconds=1)),
        [redis.Redis.from_url(each.url) for each in (pair.first, pair.second)],
    )
    for server in servers:
        server.set(keys.LEDGER_SERVER, "another 0-0")
    assert [admits(server, admission) for server in servers] == [False, False]
    wait_until(lambda: [admits(server, admission) for server in servers] == [True, True])


@pytest.mark.usefixtures("whatever_database")
def test_what_was_compared_last_is_known_of_data_of_any_age(fleet: Fleet) -> None:
    with fleet.ledger.kept("scheduler"):
        wait_until(lambda: fleet.redis.exists(keys.LEDGER_SERVER))
    assert fleet.redis.ttl(keys.LEDGER_SERVER) == -1


@pytest.mark.usefixtures("whatever_database")
def test_a_fleet_without_durable_types_waits_for_nobody_for_long(
    fleet: Fleet, spawn_worker: Callable[..., Any]
) -> None:
    """It gave up its last durable type, and nobody keeps a ledger any more."""
    spawn_worker(JOB_MODULES="tests.engine.samples.jobs")
    job = samples.double.enqueue({})
    wait_until(lambda: fleet.jobs.get(job.id).status == "completed")
    fleet.redis.set(keys.LEDGER_SERVER, "another 0-0")
    began = time.monotonic()
    fleet.redis.client_kill_filter(_type="normal", skipme=True)
    job = samples.double.enqueue({})
    wait_until(lambda: fleet.jobs.get(job.id).status == "completed")
    assert time.monotonic() - began < LONGEST.total_seconds() - 2


@pytest.mark.usefixtures("whatever_database")
def test_a_worker_that_waits_for_the_ledger_can_be_stopped_meanwhile(
    fleet: Fleet, folder: Path, tmp_path: Path, spawn_worker: Callable[..., Any]
) -> None:
    worker = spawn_worker(DATABASE_URL=NOWHERE, SHUTDOWN_GRACE="30")
    fleet.redis.set(keys.LEDGER_SERVER, "another 0-0")
    fleet.redis.client_kill_filter(_type="normal", skipme=True)
    job = durable.tell.enqueue({"folder": str(folder)})
    wait_until(lambda: b"nothing is leased until" in (tmp_path / "process-0.log").read_bytes())
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.wait(20)
    assert time.monotonic() - began < LONGEST.total_seconds() - 2
    assert fleet.redis.lrange(keys.queue(job.queue), 0, -1) == [job.id.encode()]


@pytest.mark.usefixtures("whatever_database")
def test_a_keeper_that_pauses_looks_at_a_server_that_comes_back(fleet: Fleet, pair: Pair) -> None:
    with fleet.ledger.kept("scheduler") as keeper:
        noted = wait_until(lambda: fleet.redis.get(keys.LEDGER_SERVER))
        rename(fleet, "ledger_jobs", "elsewhere")
        wait_until(lambda: keeper.failures > 5)
        rename(fleet, "elsewhere", "ledger_jobs")
        redis.Redis.from_url(pair.first.url).save()
        began = time.monotonic()
        pair.fall_back("an older file")
        wait_until(lambda: fleet.redis.ping())
        wait_until(lambda: fleet.redis.get(keys.LEDGER_SERVER).split()[0] != noted.split()[0])
        assert time.monotonic() - began < 4, "a pause is 5 s long by then"


@pytest.mark.usefixtures("whatever_database")
def test_ends_that_redis_forgot_are_told_to_it_whatever_it_makes_of_its_runs(
    fleet: Fleet, folder: Path, pair: Pair
) -> None:
    """One runs in the older data, one waits, one is delayed; the first is given back before anybody has looked."""
    server, leases = Naming(), leases_of(fleet)
    client = broker.connect(fleet.settings, purpose="test", naming=server)
    relay = Relay(fleet, client, server)
    runs, waits = (durable.tell.enqueue({"folder": str(folder)}).id for _ in range(2))
    (first,) = lease(leases)
    epoch = fleet.ledger.fence().epoch
    relay.turn(epoch)
    fleet.redis.hset(keys.TOKENS, "last", 1_000)
    pair.remember("an older file")
    (second,) = lease(leases)
    assert (first.job_id, second.job_id) == (runs, waits)
    settle(leases, (first, Outcome("finished")), (second, Outcome("finished")))
    Follower(fleet, client).follow()
    pair.fall_back("an older file")
    wait_until(lambda: fleet.redis.ping())
    fleet.redis.zadd(keys.LEASES, dict.fromkeys(fleet.redis.zrange(keys.LEASES, 0, -1), 1))
    fleet.redis.delete(keys.REAPER)
    wait_until(lambda: leases_of(fleet, "reaper").reap()[0] or not fleet.redis.zcard(keys.LEASES))
    client.ping()  # as the keeper does when it renews its lead
    relay.turn(epoch)
    assert lease(leases, 5) == []
    assert {row_of(fleet, job_id)["state"] for job_id in (runs, waits)} == {"finished"}
    assert {fleet.redis.hget(keys.job(job_id), "status") for job_id in (runs, waits)} == {b"finished"}
    assert int(fleet.redis.hget(keys.TOKENS, "last")) == 2_001_000, "no token of the lost moments is given again"
