"""Redis over TLS, and a primary that Sentinels replace."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from jobs.engine import broker
from jobs.engine.errors import BrokerUnavailable
from tests.conftest import free_port, redis_binary, wait_until
from tests.engine.redis_servers import Certificates, make_certificates, running, tls_binary

SENTINEL = """
sentinel monitor main 127.0.0.1 {port} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 5000
"""


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


@dataclass(frozen=True)
class Cluster:
    """A primary, a replica and a Sentinel that watches them as `main`."""

    primary: subprocess.Popen[bytes]
    client: redis.Redis
    sentinel: redis.Redis


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def cluster(
    request: pytest.FixtureRequest,
    connect: Callable[..., redis.Redis],
    tmp_path: Path,
    certificates: Certificates,
) -> Iterator[Cluster]:
    tls: bool = request.param
    binary, scheme = (tls_binary(tmp_path), "rediss") if tls else (redis_binary(), "redis")
    options = ["--bind", "127.0.0.1", *(certificates.server_options() if tls else [])]
    config = tmp_path / "sentinel.conf"

    def node(port: int) -> redis.Redis:
        return connect(f"{scheme}://127.0.0.1:{port}", certificates.authority)

    with ExitStack() as servers:

        def start(port: int, *more: str) -> subprocess.Popen[bytes]:
            ports = (
                ["--port", "0", "--tls-port", str(port), "--tls-replication", "yes"] if tls else ["--port", str(port)]
            )
            every = [*more, *ports, *options]
            return servers.enter_context(running(binary, every, tmp_path / str(port), lambda: node(port)))

        first, second, sentinel = free_port(), free_port(), free_port()
        config.write_text(SENTINEL.format(port=first))
        primary = start(first, "--save", "")
        start(second, "--save", "", "--replicaof", "127.0.0.1", str(first))
        start(sentinel, str(config), "--sentinel")
        url = f"{scheme}://127.0.0.1:{sentinel},127.0.0.1:{free_port()}/0?master=main"
        yield Cluster(primary, connect(url, certificates.authority), node(sentinel))


def test_writes_go_on_after_a_sentinel_failover(cluster: Cluster) -> None:
    wait_until(lambda: written(cluster, "before"), timeout=60)  # on a busy machine the Sentinel needs a moment, too
    wait_until(lambda: cluster.client.wait(1, 100))
    wait_until(lambda: cluster.sentinel.execute_command("SENTINEL", "REPLICAS", "main"))
    cluster.primary.kill()
    wait_until(lambda: written(cluster, "after"), timeout=60)
    assert cluster.client.mget("before", "after") == [b"1", b"1"]


def written(cluster: Cluster, name: str) -> bool:
    try:
        with broker.translate_errors():
            return bool(cluster.client.set(name, "1"))
    except BrokerUnavailable:
        return False
