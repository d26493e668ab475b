"""The embedded Redis keeps what it was given."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import redis

from deploy.launcher.broker import Broker
from deploy.launcher.errors import CannotStart
from deploy.launcher.instance import Instance


def test_what_was_written_is_there_after_a_stop_and_only_with_the_password(tmp_path: Path) -> None:
    data = tmp_path / "with space"
    instance = Instance(data)
    first = Broker(data, instance.descriptor)
    first.start()
    with redis.Redis.from_url(first.url) as client:
        client.set("kept", "yes")
        stranger = redis.Redis(port=client.get_connection_kwargs()["port"])
        with pytest.raises(redis.AuthenticationError):
            stranger.get("kept")
        stranger.close()
    first.process.stop()
    assert first.process.returncode == 0
    second = Broker(data, instance.descriptor)
    second.start()
    with redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"yes"
    second.process.stop()
    instance.close()


def test_a_stream_with_one_event_takes_little_memory(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    broker = Broker(tmp_path, instance.descriptor)
    broker.start()
    with redis.Redis.from_url(broker.url) as client:
        client.xadd("events", {"event": "job:queued", "data": "{}"})
        assert int(client.memory_usage("events") or 0) < 2048
    broker.process.stop()
    instance.close()


def test_a_redis_that_outlives_its_launcher_still_holds_the_folder(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    broker = Broker(tmp_path, instance.descriptor)
    broker.start()
    instance.close()
    with pytest.raises(CannotStart, match="Another bin/run"):
        Instance(tmp_path)
    broker.process.stop()
    Instance(tmp_path).close()


def test_a_redis_that_can_not_start_says_why(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    manifest = tmp_path / "redis" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("nonsense\n")
    before = _servers()
    with pytest.raises(CannotStart, match=r"(?s)did not start.*manifest"):
        Broker(tmp_path, instance.descriptor).start()
    instance.close()
    assert _servers() == before


def _servers() -> set[int]:
    """The servers under this process; the test run has one of its own."""
    children = psutil.Process(os.getpid()).children()
    return {child.pid for child in children if child.name() in ("valkey-server", "redis-server")}
