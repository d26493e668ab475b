"""What the processes of this web server take of memory and processor time, all of them whichever is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PROC = Path("/proc")


class Usage(NamedTuple):
    """Resident memory in bytes, processor time in seconds, and of how many processes."""

    memory: int
    cpu: float
    processes: int


def process_metrics(root: int) -> Iterator[Metric]:
    """Of that process and all below it; nothing where the system does not tell (it is asked as Linux is)."""
    used = usage(root)
    if not used.processes:
        return
    yield GaugeMetricFamily("fleet_web_processes", "Processes of this web server", value=used.processes)
    yield GaugeMetricFamily("fleet_web_memory_bytes", "Their resident memory, what they share in each", used.memory)
    yield CounterMetricFamily("fleet_web_cpu_seconds", "Their processor time, with that of ended ones", used.cpu)


def usage(root: int) -> Usage:
    """What a process and all below it use; of those that ended, the time that their parents were told of."""
    memory, cpu, processes = 0, 0.0, 0
    for pid in _tree(root):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            times = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[11:15]
            pages = int((PROC / str(pid) / "statm").read_text().split()[1])
            cpu += sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            memory += pages * os.sysconf("SC_PAGE_SIZE")
            processes += 1
    return Usage(memory, cpu, processes)


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        with suppress(OSError):
            for task in (PROC / str(pid) / "task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found
