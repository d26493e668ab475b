"""Connections to every kind of Redis, and what callers see when it is away."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from redis.exceptions import ResponseError

from jobs.engine import broker
from jobs.engine.broker_address import Address, parse
from jobs.engine.errors import BrokerUnavailable
from jobs.settings import InvalidSettings, Settings
from tests.conftest import ROOT, RedisServer, free_port, redis_binary, wait_until
from tests.engine.redis_servers import running


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", Address((("localhost", 6379),))),
        ("redis://cache:7000/3", Address((("cache", 7000),), db=3)),
        ("redis://:p%40ss%2F@cache", Address((("cache", 6379),), password="p@ss/")),
        ("redis://:p/s:s@cache/1", Address((("cache", 6379),), 1, password="p/s:s")),
        ("rediss://me:pw@cache:1/2?db=4", Address((("cache", 1),), 4, "me", "pw", tls=True)),
        ("redis://[::1]:7000/0", Address((("::1", 7000),))),
        ("unix:///run/redis.sock?db=2", Address(db=2, socket_path="/run/redis.sock")),
        ("unix://:pw@/run/redis.sock", Address(password="pw", socket_path="/run/redis.sock")),
        (
            "redis://:pw@one:26379,two:26380,three/1?master=mymaster&sentinel_password=s%26w",
            Address(
                (("one", 26379), ("two", 26380), ("three", 26379)),
                1,
                password="pw",
                master="mymaster",
                sentinel_password="s&w",
            ),
        ),
        ("redis+sentinel://one/0?master=m", Address((("one", 26379),), master="m")),
        ("rediss+sentinel://one,two?master=m", Address((("one", 26379), ("two", 26379)), tls=True, master="m")),
    ],
)
def test_a_redis_url_is_read_in_all_its_forms(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "must begin with redis://"),
        ("http://:canary@cache", "must begin with redis://"),
        ("redis://:canary@cache:0", "port"),
        ("redis://:canary@cache:70000", "port"),
        ("redis://:canary@cache:canary", "NAME:PORT"),
        ("redis://:canary?canary@cache", "only these are known"),
        ("redis://:canary#canary@cache", "percent-encode"),
        ("redis://:canary@cache/first", "not a number"),
        ("redis://:canary@cache/-1", "not a number"),
        ("redis://:canary@cache?password=canary", "only these are known"),
        ("redis://:canary@cache?ssl_cert_reqs=none", "only these are known"),
        ("redis://:canary@one,two", "master="),
        ("redis://:canary@one,,two?master=m", "NAME:PORT"),
        ("redis+sentinel://:canary@one", "master="),
        ("redis://:canary@one?sentinel_password=canary", "master="),
        ("unix://:canary@redis.sock", "absolute path"),
    ],
)
def test_a_redis_url_that_cannot_be_used_is_explained_without_its_password(url: str, says: str) -> None:
    with pytest.raises(InvalidSettings, match="REDIS_URL: ") as refusal:
        broker.connect(Settings(environment="test", redis_url=url))
    assert says in str(refusal.value)
    assert "canary" not in str(refusal.value)


def test_a_missing_certificate_authority_is_named(connect: Callable[..., redis.Redis], tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="REDIS_TLS_CA"):
        connect("rediss://localhost", tmp_path / "absent.pem")


def test_answers_are_bytes_and_the_client_list_shows_the_purpose(
    connect: Callable[..., redis.Redis], redis_server: RedisServer
) -> None:
    client = connect(redis_server.url, purpose="scheduler")
    client.set("greeting", "hello")
    assert client.get("greeting") == b"hello"
    assert any(each["name"].startswith("rq-fleet-scheduler@") for each in client.client_list())


def test_a_unix_socket_works(connect: Callable[..., redis.Redis], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", ""]
    with running(redis_binary(), arguments, tmp_path, lambda: redis.Redis(unix_socket_path=str(path))):
        assert connect(f"unix://{path}?db=1").ping()


def test_a_hung_redis_is_unavailable_and_comes_back(
    connect: Callable[..., redis.Redis], own_server: RedisServer
) -> None:
    client = connect(own_server.url)
    client.ping()
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    for _ in ("a known connection", "a new connection"):
        with pytest.raises(BrokerUnavailable) as failure, broker.translate_errors():
            client.ping()
        assert failure.value.retry_after > timedelta(0)
    own_server.process.send_signal(signal.SIGCONT)
    assert client.ping()


def test_a_command_without_an_answer_is_never_sent_twice(
    connect: Callable[..., redis.Redis], own_server: RedisServer
) -> None:
    client = connect(own_server.url)
    client.ping()
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    wakes = threading.Timer(1.5, own_server.process.send_signal, [signal.SIGCONT])
    wakes.start()
    with pytest.raises(redis.TimeoutError):
        client.incr("sent")
    wakes.join()
    assert wait_until(lambda: client.get("sent")) == b"1"


def test_the_first_command_after_a_restart_works(connect: Callable[..., redis.Redis], own_server: RedisServer) -> None:
    client = connect(own_server.url)
    client.ping()
    own_server.stop(signal.SIGKILL)
    with pytest.raises(BrokerUnavailable), broker.translate_errors():
        client.ping()
    own_server.start()
    assert client.ping()
    own_server.stop()
    own_server.start()
    assert client.ping()


def test_a_blocking_client_waits_longer_than_an_answer_may_take(
    connect: Callable[..., redis.Redis], redis_server: RedisServer
) -> None:
    client = connect(redis_server.url, blocking=True, socket_timeout=timedelta(seconds=0.1))
    assert client.blmove("nothing", "here", 0.3) is None


def test_a_forked_child_makes_connections_of_its_own(redis_server: RedisServer) -> None:
    script = f"""
import os
from jobs.engine import broker
from jobs.settings import Settings
client = broker.connect(Settings(environment="test", redis_url="{redis_server.url}"))
mine = client.client_id()
if os.fork() == 0:
    os._exit(3 if client.client_id() == mine else 0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert client.client_id() == mine
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_a_full_redis_is_unavailable_also_from_inside_a_script(
    connect: Callable[..., redis.Redis], own_server: RedisServer
) -> None:
    client = connect(own_server.url)
    client.config_set("maxmemory", "1")
    for write in (lambda: client.set("a", "b"), lambda: client.eval("return redis.call('SET', 'a', 'b')", 0)):
        with pytest.raises(BrokerUnavailable, match="full"), broker.translate_errors():
            write()


def test_a_replica_is_unavailable_and_left(connect: Callable[..., redis.Redis], own_server: RedisServer) -> None:
    client = connect(own_server.url)
    before = client.client_id()
    client.replicaof("127.0.0.1", free_port())
    with pytest.raises(BrokerUnavailable, match="replica"), broker.translate_errors():
        client.set("a", "b")
    assert client.client_id() != before
    client.config_set("replica-serve-stale-data", "no")
    with pytest.raises(BrokerUnavailable), broker.translate_errors():
        client.get("a")


def test_wrong_credentials_are_said_plainly(connect: Callable[..., redis.Redis], own_server: RedisServer) -> None:
    connect(own_server.url).config_set("requirepass", "the-password")
    client = connect(own_server.url.replace("//", "//:canary@"))
    with pytest.raises(BrokerUnavailable, match="REDIS_URL") as failure, broker.translate_errors():
        client.ping()
    assert "canary" not in str(failure.value)


def test_a_wrong_command_is_our_own_mistake_and_not_an_outage(
    connect: Callable[..., redis.Redis], redis_server: RedisServer
) -> None:
    @broker.translate_errors()
    def mistake() -> None:
        connect(redis_server.url).execute_command("NONSENSE")

    with pytest.raises(ResponseError, match="unknown command"):
        mistake()
