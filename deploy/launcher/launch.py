"""Starting everything in order, using it, and stopping it in order."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx2
from rich.console import Console

from deploy.launcher import environment, ingest, procfile, report
from deploy.launcher.arguments import Options
from deploy.launcher.broker import Broker
from deploy.launcher.errors import CannotStart, ProcessEnded
from deploy.launcher.instance import Instance
from deploy.launcher.output import Output
from deploy.launcher.plain import plain
from deploy.launcher.processes import Process, Processes
from deploy.launcher.progress import Bars
from deploy.launcher.signals import hurried_by
from deploy.launcher.site import Refused, Site
from jobs.settings import InvalidSettings, Settings

READY_WITHIN = timedelta(seconds=90)
RELEASE = "release"
TICK = 0.2


class Launch:
    """One run of bin/run, from the lock on the data folder to the last process's end."""

    def __init__(self, options: Options, root: Path, console: Console, given: Mapping[str, str]) -> None:
        self._options, self._root, self._console, self._given = options, root, console, given
        self._samples = root / "docs" / "samples"
        self._processes = Processes()
        self._output = Output(console)

    def run(self) -> int:
        """Start, process the files, stay unless --once, stop; the exit code. Raises CannotStart and ProcessEnded."""
        self._check_files()
        instance = Instance(self._options.data)
        try:
            with closing(self._start(instance)) as site:
                return self._use(site)
        finally:
            with hurried_by(self._processes.hurry):
                self._output.loud = not self._options.once
                self._processes.stop(self._output.stopping)
            instance.close()

    def _check_files(self) -> None:
        if self._options.missing and not self._options.files:
            raise CannotStart("\n".join(f"{plain(each.name)}: {each.why}." for each in self._options.missing))

    def _start(self, instance: Instance) -> Site:
        variables = environment.environment_of(self._given, data=self._options.data, port=self._port())
        if not (variables.get("REDIS_URL") or variables.get("REDIS_HOST")):
            variables["REDIS_URL"] = self._start_redis(instance)
        settings = _settings_of(variables)
        commands = procfile.read(self._root / "Procfile")
        self._release(commands.pop(RELEASE, None), variables)
        self._output.loud = self._options.verbose or not (self._options.once or self._options.files)
        self._console.print(f"Starting {', '.join(commands)}.", style="dim")
        for name, command in commands.items():
            self._processes.start(self._process(name, command, variables))
        self._remember(variables)
        site = Site(int(variables["PORT"]), settings)
        self._wait_until_ready(site)
        return site

    def _port(self) -> int:
        wanted = environment.wanted_port(self._given)
        port = environment.free_port_from(wanted)
        if port is None:
            raise CannotStart(f"Port {wanted} and the 99 after it are busy. Choose another: PORT=9000 bin/run")
        if port != wanted:
            self._console.print(f"[yellow]Port {wanted} is busy, so the page is at port {port}.[/]")
        return port

    def _start_redis(self, instance: Instance) -> str:
        broker = Broker(self._options.data, instance.descriptor)
        self._processes.adopt(broker.process)
        broker.start()
        return broker.url

    def _release(self, command: str | None, variables: Mapping[str, str]) -> None:
        """Run the release command to its end, as a deployment does before it starts anything."""
        if command is None:
            return
        process = self._process(RELEASE, command, variables)
        self._processes.adopt(process)
        process.start()
        if process.wait() != 0:
            raise CannotStart(f"Preparing the database failed ({command}):\n{process.last_lines()}")
        self._processes.forget(process)

    def _process(self, name: str, command: str, variables: Mapping[str, str]) -> Process:
        words = procfile.words_of(command, variables)
        log = self._options.data / "log" / f"{name}.log"
        return Process(name, words, log=log, environment=variables, folder=self._root, on_line=self._output.line)

    def _remember(self, variables: Mapping[str, str]) -> None:
        """Keep the addresses for the person's own tools: `set -a; . var/run.env; rq info`."""
        names = ("REDIS_URL", "DATABASE_URL", "STORAGE_URL", "PORT")
        kept = {name: variables[name] for name in names if name in variables}
        environment.write_private(self._options.data / "run.env", kept)

    def _wait_until_ready(self, site: Site) -> None:
        give_up = time.monotonic() + READY_WITHIN.total_seconds()
        while (reason := site.not_ready()) is not None:
            self._check_alive()
            if time.monotonic() > give_up:
                seconds = READY_WITHIN.total_seconds()
                raise ProcessEnded(f"The page is not ready after {seconds:.0f} s: {reason}\n{self._where()}")
            time.sleep(0.1)

    def _use(self, site: Site) -> int:
        try:
            site.make_workspace()
            files = self._files(site)
            if not self._options.once:
                self._welcome(site)
            code = self._ingest(site, files) if files else 0
        except (Refused, httpx2.HTTPError) as error:
            self._check_alive()
            raise ProcessEnded(f"The page does not do what it should: {error}\n{self._where()}") from None
        if not self._options.once:
            self._stay(site)
        return code

    def _files(self, site: Site) -> list[Path]:
        """The named files; without any the samples, which a lasting run uploads on its first start only."""
        if self._options.files:
            return list(self._options.files)
        if not self._options.once and site.has_documents():
            return []
        return sorted(file for file in self._samples.glob("*") if file.is_file() and not file.name.startswith("."))

    def _ingest(self, site: Site, files: list[Path]) -> int:
        self._console.print(f"Processing {len(files)} file{'s' if len(files) != 1 else ''}:")
        transfers = ingest.process(site, files, following=partial(Bars, self._console), alive=self._check_alive)
        report.summarise(self._console, transfers, self._options.missing)
        question = self._options.question or report.question_for(transfers, self._samples)
        if question and any(transfer.completed for transfer in transfers):
            report.answer(self._console, question, site.search(question))
        return 0 if all(transfer.completed for transfer in transfers) and not self._options.missing else 1

    def _welcome(self, site: Site) -> None:
        self._console.print(f"\n[bold green]Ready:[/] {site.sign_in_link()}", soft_wrap=True)
        again = "; press Enter for another" if sys.stdin.isatty() else ""
        self._console.print(f"The link signs you in once, within five minutes{again}. Ctrl-C stops everything.\n")

    def _stay(self, site: Site) -> None:
        """Watch the processes until the person stops them."""
        self._output.loud = True
        while True:
            self._check_alive()
            if _enter_pressed():
                self._welcome(site)

    def _check_alive(self) -> None:
        ended = self._processes.ended()
        if ended is not None:
            how = f"The process {ended.name} has ended by itself ({_how(ended.returncode)})"
            raise ProcessEnded(f"{how}. Its last lines:\n{ended.last_lines()}\n{self._where()}")

    def _where(self) -> str:
        return f"The logs are in {self._options.data / 'log'}."


def _settings_of(variables: Mapping[str, str]) -> Settings:
    try:
        return Settings.from_env(variables)
    except InvalidSettings as error:
        raise CannotStart(f"A setting can't be used:\n{error}") from None


def _enter_pressed() -> bool:
    """Wait a moment for the Enter key; not in the background, where reading would stop the process."""
    with suppress(OSError):
        if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
            return bool(select.select([sys.stdin], [], [], TICK)[0]) and bool(sys.stdin.readline())
    time.sleep(TICK)
    return False


def _how(code: int | None) -> str:
    return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
