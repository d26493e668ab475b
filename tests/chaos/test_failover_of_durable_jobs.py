"""Sentinels promote a replica that missed the last moments: the ledger brings back what it forgot, and nothing else."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.adapters.database import connect as connect_database
from jobs.adapters.database import migrate
from jobs.engine import BrokerUnavailable, Fleet, keys
from jobs.settings import Settings
from tests.chaos.test_failover import FOUND_WITHIN, Cluster
from tests.chaos.test_failover import cluster as cluster
from tests.conftest import wait_until
from tests.ledger.conftest import row_of, told, until
from tests.ledger.samples import durable


@pytest.fixture
def environ(environ: dict[str, str], cluster: Cluster) -> Iterator[dict[str, str]]:
    own = environ | {"REDIS_URL": cluster.address, "LEASE": "3", "JOB_MODULES": "tests.ledger.samples"}
    settings = Settings.from_env(own)
    migrate(settings)
    yield own
    connect_database(settings).close()


def hear_no_more(replica: redis.Redis, primary: redis.Redis) -> None:
    """The replica can't reach its primary any more, but Sentinels reach both."""
    replica.config_set("masterauth", "wrong")
    replica.config_set("masteruser", "nobody")
    primary.client_kill_filter(_type="replica")
    wait_until(lambda: replica.info("replication")["master_link_status"] == "down")


def answers(fleet: Fleet) -> bool:
    try:
        fleet.ping()
    except BrokerUnavailable:
        return False
    return True


def test_what_the_replica_forgot_is_done_and_what_had_ended_is_not_run_again(
    fleet: Fleet, cluster: Cluster, tmp_path: Path, spawn_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = tmp_path / "told"
    folder.mkdir()
    payload = {"folder": str(folder)}
    primary, replica = redis.Redis(port=cluster.first), redis.Redis(port=cluster.second)
    with fleet.ledger.kept("scheduler"):
        ended = [job.id for job in durable.tell.enqueue_many([payload] * 5)]
        wait_until(lambda: replica.exists(keys.LEDGER_SERVER) and replica.llen(keys.queue("default")) == len(ended))
        hear_no_more(replica, primary)
        worker = spawn_worker()
        for job_id in ended:
            until(fleet, job_id, lambda row: row["state"] == "finished")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        forgotten = [job.id for job in durable.tell.enqueue_many([payload] * 5)]
        for job_id in forgotten:
            until(fleet, job_id, lambda row: row["step"] == "pushed")
        assert replica.llen(keys.queue("default")) == len(ended), "what had ended waits there still"
        cluster.primary.kill()
        wait_until(lambda: answers(fleet), 2 * FOUND_WITHIN)
        spawn_worker()
        for job_id in forgotten:
            until(fleet, job_id, lambda row: row["state"] == "finished")
    wait_until(lambda: not replica.llen(keys.queue("default")))
    assert sorted(told(folder)) == sorted([*ended, *forgotten])
    assert {row_of(fleet, job_id)["state"] for job_id in ended} == {"finished"}
