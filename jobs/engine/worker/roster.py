"""The runs that a worker holds leases on, as its loop and its heartbeat see them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta

from jobs.engine.worker.running import Running


class Roster:
    """Written by the loop, read by the heartbeat's thread too."""

    def __init__(self, lease: timedelta) -> None:
        self._young = lease.total_seconds() / 6
        self._runs: dict[str, Running] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, running: Running) -> bool:
        return running.execution_id in self._runs

    def all(self) -> list[Running]:
        """Every run, those included whose outcome waits to be written."""
        return list(self._runs.values())

    def add(self, runs: Iterable[Running]) -> None:
        """These were leased."""
        with self._lock:
            self._runs.update((each.execution_id, each) for each in runs)

    def remove(self, runs: Iterable[Running]) -> None:
        """These are done with."""
        with self._lock:
            for each in runs:
                self._runs.pop(each.execution_id, None)

    def settling(self, runs: Iterable[Running], under_way: bool) -> None:
        """The outcomes of these are on their way to Redis, or have not got there."""
        with self._lock:
            for each in runs:
                each.is_settling = under_way

    def held(self) -> Sequence[tuple[str, str, str]]:
        """The runs to renew (id, execution, queue): not those that are young, nor those whose outcome is on its way."""
        young = time.monotonic() - self._young
        with self._lock:
            held = [each for each in self._runs.values() if each.leased_at < young and not each.is_settling]
            for running in held:
                running.renewed = True
            return [(each.job_id, each.execution_id, each.queue) for each in held]
