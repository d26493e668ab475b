"""Connections to every kind of Redis, and what callers see when it is away."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
from tests.engine.redis_servers import Certificates, make_certificates, running, tls_binary


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    server = RedisServer(tmp_path)
    yield server
    if server.process is not None:
        server.stop(signal.SIGKILL)


@pytest.fixture
def connect() -> Iterator[Callable[..., redis.Redis]]:
    """broker.connect to a URL; closed at the end."""
    with ExitStack() as clients:

        def to(url: str, authority: Path | None = None, **options: object) -> redis.Redis:
            settings = Settings(environment="test", redis_url=url, redis_tls_ca=authority)
            return clients.enter_context(broker.connect(settings, **options))  # type: ignore[arg-type]

        yield to


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


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def test_tls_verifies_the_certificate_and_the_name(
    connect: Callable[..., redis.Redis], tmp_path: Path, certificates: Certificates
) -> None:
    port = free_port()
    url = f"rediss://localhost:{port}"
    arguments = ["--port", "0", "--tls-port", str(port), "--save", "", *certificates.server_options()]
    with running(tls_binary(tmp_path), arguments, tmp_path, lambda: connect(url, certificates.authority)):
        assert connect(url, certificates.authority).ping()
        with pytest.raises(BrokerUnavailable), broker.translate_errors():
            connect(url).ping()
        with pytest.raises(BrokerUnavailable), broker.translate_errors():
            connect(f"redis://localhost:{port}").ping()


def test_tls_refuses_a_certificate_for_another_name(connect: Callable[..., redis.Redis], tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, "elsewhere.example")
    port = free_port()
    arguments = ["--port", "0", "--tls-port", str(port), "--save", "", *certificates.server_options()]

    def unverified() -> redis.Redis:
        return redis.Redis(port=port, ssl=True, ssl_cert_reqs="none", ssl_check_hostname=False)

    with running(tls_binary(tmp_path), arguments, tmp_path, unverified):
        with pytest.raises(BrokerUnavailable) as failure, broker.translate_errors():
            connect(f"rediss://localhost:{port}", certificates.authority).ping()
        assert "CERTIFICATE_VERIFY_FAILED" in str(failure.value.__cause__)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_writes_go_on_after_a_sentinel_failover(
    connect: Callable[..., redis.Redis], tmp_path: Path, certificates: Certificates, tls: bool
) -> None:
    binary = tls_binary(tmp_path) if tls else redis_binary()
    authority = certificates.authority if tls else None
    first, second, sentinel = free_port(), free_port(), free_port()

    def arguments(port: int) -> list[str]:
        ports = ["--port", "0", "--tls-port", str(port), "--tls-replication", "yes"] if tls else ["--port", str(port)]
        return [*ports, "--bind", "127.0.0.1", *(certificates.server_options() if tls else [])]

    def node(port: int) -> redis.Redis:
        return connect(f"{'rediss' if tls else 'redis'}://127.0.0.1:{port}", authority)

    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor main 127.0.0.1 {first} 1\nsentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 5000\n"
    )
    with ExitStack() as servers:

        def start(port: int, *more: str) -> subprocess.Popen[bytes]:
            every = [*more, *arguments(port)]
            return servers.enter_context(running(binary, every, tmp_path / str(port), lambda: node(port)))

        primary = start(first, "--save", "")
        start(second, "--save", "", "--replicaof", "127.0.0.1", str(first))
        start(sentinel, str(config), "--sentinel")
        client = connect(
            f"{'rediss' if tls else 'redis'}://127.0.0.1:{sentinel},127.0.0.1:{free_port()}/0?master=main", authority
        )
        client.set("before", "1")
        wait_until(lambda: client.wait(1, 100))
        wait_until(lambda: node(sentinel).execute_command("SENTINEL", "REPLICAS", "main"))
        primary.kill()

        def written() -> bool:
            try:
                with broker.translate_errors():
                    return bool(client.set("after", "1"))
            except BrokerUnavailable:
                return False

        wait_until(written, timeout=60)
        assert client.mget("before", "after") == [b"1", b"1"]
