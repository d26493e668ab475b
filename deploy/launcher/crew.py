"""The processes of Procfile at work: what dies is started again a few times, and web gets a port that is free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from deploy.launcher import procfile, signals
from deploy.launcher.errors import CannotStart, PortTaken, ProcessEnded
from deploy.launcher.output import Output
from deploy.launcher.processes import Process, Processes

RELEASE, WEB = "release", "web"
RESTARTED = frozenset({"worker", "scheduler"})
RESTARTS = 3
IN_USE = "Connection in use"  # what gunicorn says when it can't have its port


class Crew:
    """Starts commands in order and watches them; `variables` is their environment, `logs` the folder they log to."""

    def __init__(self, root: Path, logs: Path, output: Output, variables: dict[str, str], processes: Processes) -> None:
        self._root, self._logs, self._output, self._variables = root, logs, output, variables
        self._processes = processes
        self._commands: dict[str, str] = {}
        self._restarts: Counter[str] = Counter()

    def start(self, commands: Mapping[str, str]) -> None:
        """Run the release command to its end, as a deployment does, then start the others."""
        self._commands = dict(commands)
        if (release := self._commands.pop(RELEASE, None)) is not None:
            self._run(release)
        for name in self._commands:
            self._processes.start(self._process(name))

    def move_web(self, port: int) -> None:
        """Start web again at another port."""
        self._variables["PORT"] = str(port)
        self._replace(next(process for process in self._processes if process.name == WEB))

    def check(self) -> None:
        """Start again what has died, a few times. Raises ProcessEnded when that is no use, PortTaken, Interrupted."""
        signals.check()
        for process in self._processes:
            if process.name == WEB and IN_USE in process.last_lines():
                raise PortTaken(self._variables["PORT"])
            if process.returncode is not None:
                self._start_again(process)

    def where(self) -> str:
        """Where to read on, and that this costs nothing."""
        return f"All that they said is in {self._logs}. Nothing is lost: start bin/run again."

    def _start_again(self, process: Process) -> None:
        how = f"The process {process.name} has ended by itself ({_how(process.returncode)})"
        if process.name not in RESTARTED or self._restarts[process.name] >= RESTARTS:
            again = f" and was started again {RESTARTS} times before" if process.name in RESTARTED else ""
            raise ProcessEnded(f"{how}{again}.{_said(process)}\n{self.where()}")
        self._restarts[process.name] += 1
        self._output.warn(f"{how}; it is started again ({self._restarts[process.name]} of {RESTARTS}).")
        self._replace(process)

    def _replace(self, process: Process) -> None:
        process.stop()
        self._processes.forget(process)
        self._processes.start(self._process(process.name, again=True))

    def _run(self, command: str) -> None:
        process = self._process(RELEASE, command)
        self._processes.start(process)
        if process.wait() != 0:
            raise CannotStart(f"Preparing the database failed ({command}).{_said(process)}\n{self.where()}")
        self._processes.forget(process)

    def _process(self, name: str, command: str | None = None, again: bool = False) -> Process:
        words = procfile.words_of(command or self._commands[name], self._variables)
        return Process(
            name,
            words,
            log=self._logs / f"{name}.log",
            append=again,
            environment=dict(self._variables),
            folder=self._root,
            on_line=self._output.line,
        )


def _said(process: Process) -> str:
    words = process.last_words()
    return f" It said:\n{words}" if words else ""


def _how(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
