"""The processes of a worker: where children come from, what they share and what they must not have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rq import Queue as RQQueue
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from tests.conftest import ROOT, wait_until
from tests.engine.conftest import until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]
NEEDLESS = (
    "apispec",
    "asyncio.base_events",
    "cryptography.fernet",
    "flask",
    "gunicorn",
    "numpy",
    "pygments",
    "redis.asyncio.client",
    "rich",
    "rq.cli",
    "rq_scheduler",
    "sqlalchemy",
)


def the_child(fleet: Fleet, folder: Path) -> psutil.Process:
    """A child that runs a job until the test ends."""
    samples.gate.enqueue({"folder": str(folder)})
    return psutil.Process(int(until_told(folder)[0].split()[1]))


def test_children_of_the_worker_share_its_memory(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = psutil.Process(spawn_worker().pid)
    child = the_child(fleet, folder)
    assert child.parent().parent() == worker, "worker, template, child"
    assert child.cmdline() == child.parent().cmdline() == worker.cmdline(), "forked, not started anew"
    assert child.parent().num_threads() == 1, "forking is safe in a process with one thread only"
    private = child.memory_full_info().uss
    assert private < worker.memory_info().rss / 2, f"{private} bytes of a child are its own"


def test_a_child_has_none_of_its_workers_connections(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    worker = psutil.Process(spawn_worker().pid)
    child = the_child(fleet, folder)
    assert worker.net_connections("inet")
    assert child.net_connections("inet") == child.parent().net_connections("inet") == []


def test_under_rqs_own_command_children_come_from_a_fresh_interpreter(fleet: Fleet, spawn: Spawn, folder: Path) -> None:
    command = "import sys; from rq.cli import main; sys.argv = ['rq', *sys.argv[1:]]; main()"
    url = fleet.settings.redis_url
    worker = spawn("-c", command, "worker", "--url", url, "-w", "worker.FleetWorker", "default")
    wait_until(lambda: fleet.redis.zcard(keys.WORKERS))
    child = the_child(fleet, folder)
    assert child.parent().ppid() == worker.pid
    assert "template" in child.cmdline()[-1]
    assert child.net_connections("inet") == []


@pytest.mark.parametrize("name", NEEDLESS)
def test_a_worker_does_not_load_what_it_does_not_need(name: str) -> None:
    code = f"import sys, worker; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_asyncio_is_all_there_as_soon_as_it_is_used() -> None:
    code = """
import worker, asyncio, redis
async def answer():
    return type(redis.asyncio.Redis()).__module__, asyncio.Lock().__module__, asyncio.get_running_loop().is_running()
assert asyncio.run(answer()) == ("redis.asyncio.client", "asyncio.locks", True)
assert not hasattr(asyncio, "nonsense") and not hasattr(redis.asyncio, "nonsense")
from asyncio import *
assert gather is asyncio.gather and StreamReader is asyncio.streams.StreamReader
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_what_is_asynchronous_in_httpx_is_all_there_as_soon_as_it_is_used() -> None:
    code = """
import asyncio, sys
from jobs.domains.documents._preload import ASYNCHRONOUS
from jobs.loading.postponed import postponed
with postponed(ASYNCHRONOUS):
    import httpcore2, httpx2
assert "anyio.streams.tls" in sys.modules and "anyio.abc._streams" not in sys.modules

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nyo")
    await writer.drain()

async def asked():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).text

assert asyncio.run(asyncio.wait_for(asked(), 30)) == "yo"
import anyio.streams.tls
assert anyio.streams.tls.TLSStream and anyio.abc.ByteStream
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_a_preload_that_starts_threads_is_reported(spawn: Spawn, fleet: Fleet, tmp_path: Path) -> None:
    worker = spawn("worker.py", "--burst", JOB_MODULES="tests.engine.preloads_threads")
    assert worker.wait(60) == 0
    assert "has started threads" in (tmp_path / "process-0.log").read_text()


def test_a_worker_whose_jobs_cannot_be_loaded_ends_with_the_reason(spawn: Spawn, tmp_path: Path) -> None:
    worker = spawn("worker.py", JOB_MODULES="tests.engine.there_is_no_such_module")
    assert worker.wait(60) != 0
    assert "there_is_no_such_module" in (tmp_path / "process-0.log").read_text()


def test_forks_that_fail_are_tried_again_ever_less_often_and_reported_once(
    spawn_worker: Spawn, fleet: Fleet, tmp_path: Path
) -> None:
    refused = tmp_path / "refused"
    preload = {"JOB_MODULES": "tests.engine.preloads_no_forks", "REFUSED_FORKS": str(refused)}
    spawn_worker(**preload, FOREIGN_JOBS="tests.engine.foreign_functions.*")
    refused.touch()
    queue = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    queued = [queue.enqueue("tests.engine.foreign_functions.add", 1, 2) for _ in range(3)]
    tries = wait_until(lambda: lines if len(lines := refused.read_text().splitlines()) >= 12 else [])
    refused.unlink()
    ended = [wait_until(lambda job=job: v if (v := fleet.jobs.get(job.id)).ended else None) for job in queued]
    assert [job.status for job in ended] == ["completed"] * 3
    assert [job.attempts for job in ended] == [1] * 3
    assert float(tries[11]) - float(tries[0]) > 0.1 + 0.2, "three jobs at a go, with pauses between that grow"
    log = (tmp_path / "process-0.log").read_text()
    assert (log.count("no child could be forked"), log.count("children can be forked again")) == (1, 1)
