"""The real processes for a measurement: free ports, a folder that is deleted afterwards, stopped by process id."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import httpx2

from deploy.launcher.broker import Broker
from deploy.launcher.environment import any_free_port, environment_of
from deploy.launcher.instance import Instance
from jobs.adapters.database import migrate
from jobs.engine import Fleet, connect, keys
from jobs.engine.scheduler import names
from jobs.settings import Settings
from webapp.auth import SCOPES, make_token

ROOT = Path(__file__).resolve().parent.parent
READY_WITHIN = timedelta(seconds=60)
TENANT, WORKSPACE = "bench", "bench"


@contextmanager
def stack(**variables: str) -> Iterator[Stack]:
    """An empty Redis (with its log on, as bin/run starts it), a migrated SQLite file and a storage folder."""
    with tempfile.TemporaryDirectory(prefix="rq-fleet-") as name:
        data = Path(name)
        instance = Instance(data)
        broker = Broker(data, instance.descriptor)
        broker.start()
        environment = environment_of(_inherited(), data=data, port=any_free_port())
        environment |= {"REDIS_URL": broker.url, "LOG_FORMAT": "json", "PYTHONPATH": str(ROOT), **variables}
        running = Stack(data, environment)
        try:
            migrate(running.settings)
            yield running
        finally:
            running.stop()
            broker.process.stop()
            instance.close()


@dataclass
class Stack:
    """What runs, and how to start more."""

    data: Path
    environment: dict[str, str]
    python: str = sys.executable
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_env(self.environment)

    @cached_property
    def fleet(self) -> Fleet:
        return connect(self.settings).discover()

    def start_web(self, app: str = "webapp:create_app()", probe: str = "/readyz") -> str:
        """Serve `app` with the project's own gunicorn settings; its address once `probe` answers 200."""
        port = any_free_port()
        config = str(ROOT / "deploy" / "gunicorn.conf.py")
        self._start("-m", "gunicorn", "-c", config, app, PORT=str(port))
        address = f"http://127.0.0.1:{port}"
        self.wait(lambda: _answers(address + probe))
        return address

    def start_worker(self) -> subprocess.Popen[bytes]:
        """A worker that takes jobs."""
        workers = self.fleet.redis.zcard(keys.WORKERS)
        process = self._start("worker.py")
        self.wait(lambda: self.fleet.redis.zcard(keys.WORKERS) > workers)
        return process

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """A scheduler that keeps the ledger, where there are durable jobs."""
        process = self._start("worker.py", "--scheduler")
        self.wait(lambda: self.fleet.redis.zcard(names.SCHEDULERS) > 0)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Stop one process and wait until it has gone."""
        self.processes.remove(process)
        process.terminate()
        process.wait(60)

    def stop(self) -> None:
        """Stop everything that was started here."""
        for process in list(self.processes):
            self.end(process)

    def client(self, address: str) -> httpx2.Client:
        """A caller of the API who may everything."""
        token = make_token(self.settings, TENANT, list(SCOPES), ttl=timedelta(hours=2))
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.Client(base_url=address, headers=headers, timeout=60, trust_env=False)

    def wait(
        self,
        condition: Callable[[], object],
        within: timedelta = READY_WITHIN,
        every: timedelta = timedelta(seconds=0.02),
    ) -> None:
        """Until the condition holds. Raises RuntimeError when a process ends or time is up."""
        give_up = time.monotonic() + within.total_seconds()
        while not condition():
            ended = [process.args for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > give_up:
                raise RuntimeError(f"{'these ended: ' + str(ended) if ended else 'time is up'}\n{self._last_lines()}")
            time.sleep(every.total_seconds())

    def _start(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        with (self.data / f"process-{len(list(self.data.glob('*.log')))}.log").open("wb") as log:
            process = subprocess.Popen(
                [self.python, *arguments],
                cwd=ROOT,
                env={**self.environment, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def _last_lines(self) -> str:
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in sorted(self.data.glob("process-*.log")))


def _inherited() -> dict[str, str]:
    """This environment without what would lead to other data."""
    return {name: value for name, value in os.environ.items() if not name.endswith("_URL") and name != "REDIS_HOST"}


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False
