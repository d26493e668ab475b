"""A worker under measurement: its whole process tree's processor time and memory, started and stopped by process id."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

STOPS_WITHIN = 5


@dataclass(frozen=True)
class Used:
    """Seconds of processor time: of the first process alone, and of the whole tree with children that have ended."""

    first: float
    tree: float


class Tree:
    """A process and everything below it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._first = psutil.Process(process.pid)

    def check(self) -> None:
        """Raises RuntimeError with the last lines it wrote when the first process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}\n{self.last_lines()}")

    def last_lines(self) -> str:
        """What it wrote last."""
        return self._log.read_text(errors="replace")[-3000:]

    def used(self) -> Used:
        """What it has used so far."""
        first, *others = self._all()
        own = _used(first.pid)
        return Used(own, own + _of_children(first) + sum(_with_children(each) for each in others))

    def memory(self) -> float:
        """Megabytes of proportional set size: pages that processes share are counted once among them."""
        return sum(_pss(each.pid) for each in self._all()) / 1e6

    def processes(self) -> int:
        """How many processes it is made of."""
        return len(self._all())

    def stop(self) -> None:
        """Ask it to end, wait, and kill what is left of it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = self._all()
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOPS_WITHIN)
            for each in psutil.wait_procs(family, timeout=1)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self._process.wait(STOPS_WITHIN)

    def _all(self) -> list[psutil.Process]:
        return [self._first, *self._first.children(recursive=True)]


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Iterator[Tree]:
    """Start `command` in `folder`, its output in `log`, and stop it in the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)
    tree = Tree(process, log)
    try:
        yield tree
    finally:
        tree.stop()


def _used(pid: int) -> float:
    """Seconds of processor time of a process and its threads, also those that have ended.

    Its own clock, numbered as Linux's clock_getcpuclockid(3) does: /proc counts ticks, 10 ms each, and a process of a
    worker runs dozens of no-op jobs within one.
    """
    return time.clock_gettime(~pid << 3 | 2)


def _of_children(process: psutil.Process) -> float:
    """Seconds of those of its children that have ended."""
    times = process.cpu_times()
    return times.children_user + times.children_system


def _with_children(process: psutil.Process) -> float:
    """Nothing for one that has ended since it was listed: its parent has its time."""
    try:
        return _used(process.pid) + _of_children(process)
    except (OSError, psutil.NoSuchProcess):
        return 0.0


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
