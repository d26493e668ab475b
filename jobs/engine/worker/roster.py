"""The runs that a worker holds leases on, as its loop and its heartbeat see them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta

from jobs.engine.worker import lease_clock
from jobs.engine.worker.running import Running

RECORD_AFTER = 0.1
"""Seconds after which runs of a batch that have not ended get leases of their own."""


class Roster:
    """Written by the loop, read by the heartbeat's thread too."""

    def __init__(self, lease: timedelta) -> None:
        self._lease = lease.total_seconds()
        self._young = self._lease / 6
        self._runs: dict[str, Running] = {}
        self._batches: deque[tuple[float, list[Running]]] = deque()
        self._lock = threading.Lock()
        self._is_told = True
        self.on_batch: Callable[[], None] = lambda: None
        """Called by `look_after` where there is a batch, `record_at` having been None."""

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, running: Running) -> bool:
        return running.execution_id in self._runs

    def all(self) -> list[Running]:
        """Every run, those included whose outcome waits to be written."""
        return list(self._runs.values())

    def add(self, runs: Sequence[Running], age: timedelta) -> None:
        """These were leased, that long ago at most."""
        held_until = lease_clock.now() - age.total_seconds() + self._lease
        for each in runs:
            each.held_until = held_until
        batch = [each for each in runs if each.in_batch]
        with self._lock:
            self._runs.update((each.execution_id, each) for each in runs)
            is_first = not self._batches
            if batch:
                self._batches.append((time.monotonic() + RECORD_AFTER, batch))
        if batch and is_first:
            self._is_told = False

    def look_after(self) -> None:
        """What was added is handed on: now there is time to wake who looks after batches."""
        if not self._is_told:
            self._is_told = True
            self.on_batch()

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

    @property
    def record_at(self) -> float | None:
        """When (monotonic seconds) to call `lasting` next, or None while there is no batch."""
        with self._lock:
            return self._batches[0][0] if self._batches else None

    def lasting(self) -> Sequence[tuple[str, str, str]]:
        """Runs that were leased in a batch `RECORD_AFTER` ago and have not ended (id, execution, queue); told once."""
        now = time.monotonic()
        lasting: list[tuple[str, str, str]] = []
        with self._lock:
            while self._batches and self._batches[0][0] <= now:
                _, batch = self._batches.popleft()
                left = [each for each in batch if each.execution_id in self._runs and not each.has_ended]
                lasting += [(each.job_id, each.execution_id, each.queue) for each in left]
        return lasting

    def held(self) -> Sequence[tuple[str, str, str]]:
        """The runs to renew (id, execution, queue): not those that are young, nor those whose outcome is on its way."""
        young = time.monotonic() - self._young
        with self._lock:
            held = [each for each in self._runs.values() if each.leased_at < young and not each.is_settling]
            for running in held:
                running.renewed = True
            return [(each.job_id, each.execution_id, each.queue) for each in held]

    def renewed(self, runs: Iterable[tuple[str, str, str]], asked_at: float, lost: Collection[str]) -> None:
        """These (id, execution, queue) were to be renewed at that time of the lease clock; some were lost."""
        with self._lock:
            for _, execution, _ in runs:
                running = self._runs.get(execution)
                if running is not None and execution not in lost:
                    running.held_until = asked_at + self._lease
