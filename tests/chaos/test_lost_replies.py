"""A reply that is lost, late or never read: the same call is made again, and nothing is doubled or lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from jobs.engine import connect
from jobs.engine.scripts import FOLDER, script
from jobs.settings import Settings
from tests.chaos import journal
from tests.chaos.stage import Stage
from tests.chaos.test_redis_faults import hold
from tests.conftest import RedisServer, wait_until
from tests.engine.lossy_proxy import LossyProxy

LEASE = 2.0


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "LEASE": str(LEASE)}


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[LossyProxy]:
    """A proxy before a server that knows every script, so that each call is one request with the script's hash."""
    with redis.Redis(port=server.port) as own:
        for path in FOLDER.glob("*.lua"):
            if not path.stem.startswith("lib_"):
                own.script_load(script(path.stem).source)
    proxy = LossyProxy(server.port)
    yield proxy
    proxy.close()


def asks(name: str, job_id: str = "") -> Callable[[bytes, bytes], bool]:
    """Picks the calls of a script whose request holds that id."""
    sha = script(name).sha.encode()
    return lambda request, _: sha in request and job_id.encode() in request


def gives(name: str, job_id: str) -> Callable[[bytes, bytes], bool]:
    """Picks the calls of a script whose reply holds that id."""
    sha = script(name).sha.encode()
    return lambda request, reply: sha in request and job_id.encode() in reply


def once(proxy: LossyProxy, picks: Callable[[bytes, bytes], bool]) -> Callable[[bytes, bytes], bool]:
    return lambda request, reply: proxy.lost == 0 and picks(request, reply)


def test_the_reply_to_an_enqueue_is_lost(stage: Stage, proxy: LossyProxy, environ: dict[str, str]) -> None:
    stage.herd.start()
    fleet = connect(Settings.from_env({**environ, "REDIS_URL": proxy.url}))
    client = stage.client(fleet)
    client.patient = True
    proxy.loses_reply = once(proxy, asks("enqueue"))
    client.burst(20)
    stage.drain()
    assert (proxy.lost, len(journal.read(stage.journal))) == (1, 20)
    fleet.close()
    stage.judge()


@pytest.mark.parametrize("name", ["lease", "settle", "renew", "reap"])
def test_a_reply_to_a_worker_is_lost(stage: Stage, proxy: LossyProxy, name: str) -> None:
    (job_id,) = stage.client().burst(1, LEASE + 1.0 if name in ("renew", "reap") else 0.1)
    picks = {"lease": gives("lease", job_id), "settle": asks("settle", job_id)}
    proxy.loses_reply = once(proxy, picks.get(name, asks(name)))
    stage.herd.start(REDIS_URL=proxy.url)
    stage.drain()
    assert (proxy.lost, len(journal.read(stage.journal))) == (1, 1)
    events = [each.name for each in stage.fleet.events.read(f"job:{job_id}", tenant="")]
    assert events == ["job:queued", "job:started", "job:completed"], "nobody had to find it again"
    stage.judge()


def test_one_reply_in_ten_is_lost_under_load(stage: Stage, proxy: LossyProxy, environ: dict[str, str]) -> None:
    stage.herd.start(2, REDIS_URL=proxy.url, LEASE="6")
    stage.herd.until_ready(2)
    with stage.load(longest=1.0):
        stage.until_busy()
        with stage.fault("lost replies", repeats=False):
            proxy.loses_reply = lambda *_: stage.rng.random() < 0.1
            hold(3.0)
            proxy.loses_reply = lambda *_: False
        stage.until_all_resume(15.0)
    stage.judge()


def test_redis_is_slow_under_load(stage: Stage, proxy: LossyProxy) -> None:
    stage.herd.start(2, REDIS_URL=proxy.url)
    stage.herd.until_ready(2)
    with stage.load(longest=1.0):
        stage.until_busy()
        with stage.fault("slow redis", repeats=False):
            proxy.delay = 0.3
            hold(3.0)
            proxy.delay = 0.0
        stage.until_all_resume(15.0)
    stage.judge()
    assert set(stage.herd.shut_down()) == {0}


def test_a_worker_is_cut_off_past_its_lease(stage: Stage, proxy: LossyProxy) -> None:
    (cut_off,) = stage.herd.start(REDIS_URL=proxy.url)
    (job_id,) = stage.client().burst(1, LEASE + 2.0)
    wait_until(lambda: stage.began(cut_off.template))
    stage.herd.start()
    with stage.fault("cut off", template=cut_off.template, separates=True):
        proxy.holds_request = lambda *_: True
        proxy.cut()
        wait_until(lambda: stage.began() == 2)
        stage.drain()
    before = stage.final(job_id)
    proxy.release()
    stage.client().burst(20, 0.1)
    stage.until_all_resume(20.0)
    stage.drain()
    assert stage.final(job_id) == before
    stage.judge()
