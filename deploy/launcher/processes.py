"""The processes that the launcher started: their output, their end, and stopping them in order without orphans."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from deploy.launcher import signals
from deploy.parents import end_with_parent

GRACE = timedelta(seconds=40)
STOP_ORDER = ("scheduler", "web", "worker", "redis")
LINES_KEPT = 200
WORDS = 5


class Process:
    """A child in a process group of its own, so that Ctrl-C reaches the launcher alone."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        append: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        """`on_line` gets (name, line) of all that the child prints, from another thread; `log` keeps the same."""
        self.name = name
        self._command, self._environment, self._folder = list(command), environment, folder
        self._log, self._mode, self._on_line = log, "a" if append else "w", on_line
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._popen: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, stdin: str | None = None, keep_open: Sequence[int] = ()) -> None:
        """Start it; `stdin` is all that it can read, `keep_open` are descriptors it inherits."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with signals.deferred():
            self._popen = self._open(stdin, keep_open)
            if self._popen.stdin is not None and stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._popen.stdin.write(stdin)
                    self._popen.stdin.close()
            self._reader = threading.Thread(target=self._read, name=f"output of {self.name}", daemon=True)
            self._reader.start()

    @property
    def returncode(self) -> int | None:
        """How it ended, or None while it runs; -9 is a SIGKILL."""
        return None if self._popen is None else self._popen.poll()

    def wait(self, timeout: timedelta | None = None) -> int | None:
        """Its exit code, or None when it still runs after `timeout`."""
        if self._popen is None:
            return None
        try:
            code = self._popen.wait(None if timeout is None else timeout.total_seconds())
        except subprocess.TimeoutExpired:
            return None
        if self._reader is not None:
            self._reader.join(1)
        return code

    def stop(self, grace: timedelta = GRACE) -> None:
        """Ask it to end, wait up to `grace`, then kill it and whatever is left of its group."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.terminate()
            self.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End the whole group at once."""
        self.signal_group(signal.SIGKILL)
        self.wait(timedelta(seconds=5))

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        if self._popen is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def last_lines(self) -> str:
        """The end of what it printed."""
        return "\n".join(self._lines)

    def last_words(self) -> str:
        """The few last lines that say something by themselves: those of a traceback are for the log."""
        said = [line for line in self._lines if line.strip() and not line.startswith((*" \t|+╭│╰", "Traceback "))]
        return "\n".join(said[-WORDS:])

    def _open(self, stdin: str | None, keep_open: Sequence[int]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=keep_open,
            start_new_session=True,
            preexec_fn=_begin,
        )

    def _read(self) -> None:
        assert self._popen is not None and self._popen.stdout is not None  # noqa: S101
        with self._log.open(self._mode, encoding="utf-8", buffering=1) as log, self._popen.stdout as output:
            for line in output:
                log.write(line)
                self._lines.append(line.rstrip("\n"))
                if self._on_line is not None:
                    self._on_line(self.name, line.rstrip("\n"))


class Processes:
    """All that runs for us; the names in STOP_ORDER end in that order, others first."""

    def __init__(self) -> None:
        self._started: list[Process] = []

    def start(self, process: Process) -> None:
        """Start `process` and see to its end."""
        self.adopt(process)
        process.start()

    def adopt(self, process: Process) -> None:
        """See to the end of a process that was started elsewhere."""
        self._started.append(process)

    def forget(self, process: Process) -> None:
        """`process` has ended as it should."""
        self._started.remove(process)

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._started))

    def stop(self, saying: Callable[[str], None] = lambda name: None) -> None:
        """Stop them one after the other; `saying` hears each name before its turn."""
        for process in sorted(self._started, key=_turn):
            if process.returncode is None:
                saying(process.name)
            process.stop()

    def hurry(self) -> None:
        """Kill everything at once but Redis, whose turn comes; `stop` then has little to wait for."""
        for process in self._started:
            if process.name != "redis":
                process.signal_group(signal.SIGKILL)


def _turn(process: Process) -> int:
    return STOP_ORDER.index(process.name) if process.name in STOP_ORDER else -1


def _begin() -> None:
    """In the child, before it is what it shall be: a signal that the launcher ignores meanwhile is none of its own."""
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()
