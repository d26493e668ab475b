"""Starting everything in order, using it, and stopping it in order."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx2
from rich.console import Console

from deploy.launcher import environment, ingest, preflight, procfile, report
from deploy.launcher.arguments import Options
from deploy.launcher.broker import Broker
from deploy.launcher.crew import RELEASE, WEB, Crew
from deploy.launcher.errors import CannotStart, Interrupted, PortTaken, ProcessEnded
from deploy.launcher.instance import Instance
from deploy.launcher.output import Output
from deploy.launcher.plain import plain
from deploy.launcher.processes import Processes
from deploy.launcher.progress import Bars
from deploy.launcher.signals import hurried_by
from deploy.launcher.site import Refused, Site
from jobs.settings import InvalidSettings, Settings

READY_WITHIN = timedelta(seconds=90)
TICK = 0.2


class Launch:
    """One run of bin/run, from the lock on the data folder to the last process's end."""

    def __init__(self, options: Options, root: Path, console: Console, given: Mapping[str, str]) -> None:
        self._options, self._root, self._console, self._given = options, root, console, given
        self._samples, self._logs = root / "docs" / "samples", options.data / "log"
        self._grace = timedelta(0)
        self._crew: Crew
        self._processes = Processes()
        self._output = Output(console)

    def run(self) -> int:
        """Start, process the files, stay unless --once, stop; the exit code. Raises CannotStart and ProcessEnded."""
        self._check_files()
        wanted = environment.wanted_port(self._given)
        instance = Instance(self._options.data)
        interrupted = False
        try:
            if self._options.verify:
                return self._verify(instance)
            with closing(self._start(instance, wanted)) as site:
                return self._use(site)
        except Interrupted:
            interrupted = True
            raise
        finally:
            with hurried_by(self._processes.hurry):
                self._stop(interrupted)
            instance.close()

    def _check_files(self) -> None:
        if self._options.missing and not self._options.files:
            raise CannotStart("\n".join(f"{plain(each.name)}: {each.why}." for each in self._options.missing))

    def _start(self, instance: Instance, wanted: int) -> Site:
        variables = self._variables(self._port(wanted))
        if self._options.simple:
            variables["USE_JOB_QUEUE"] = "false"
        settings = _settings_of(variables)
        if settings.use_job_queue and not (variables.get("REDIS_URL") or variables.get("REDIS_HOST")):
            variables["REDIS_URL"] = self._start_redis(instance)
            settings = _settings_of(variables)
        self._grace = settings.shutdown_grace
        preflight.check(settings)
        commands = procfile.read(self._root / "Procfile")
        if not settings.use_job_queue:
            commands = {name: command for name, command in commands.items() if name in (RELEASE, WEB)}
        self._output.loud = self._options.verbose or not (self._options.once or self._options.files)
        self._console.print(f"Starting {', '.join(name for name in commands if name != RELEASE)}.", style="dim")
        self._crew = Crew(self._root, self._logs, self._output, variables, self._processes)
        self._crew.start(commands)
        site = self._ready_site(settings, int(variables["PORT"]))
        self._remember(variables)
        return site

    def _verify(self, instance: Instance) -> int:
        """What `python worker.py --check` says of the environment that the processes would get."""
        variables = self._variables(environment.wanted_port(self._given))
        if not (variables.get("REDIS_URL") or variables.get("REDIS_HOST")):
            variables["REDIS_URL"] = self._start_redis(instance)
        commands = [[sys.executable, "worker.py", "--check"]]
        if "DATABASE_URL" not in self._given:
            commands.insert(0, [sys.executable, "-m", "jobs.adapters.database", "migrate"])
        codes = [subprocess.run(command, cwd=self._root, env=variables).returncode for command in commands]
        return max(codes)

    def _variables(self, port: int) -> dict[str, str]:
        try:
            return environment.environment_of(self._given, data=self._options.data, port=port)
        except OSError as error:
            raise CannotStart(f"{error.filename} can't be used: {error.strerror}.") from None

    def _port(self, wanted: int) -> int:
        port = environment.free_port_from(wanted)
        if port is None:
            raise CannotStart(f"Port {wanted} and the 99 after it are busy. Choose another: PORT=9000 bin/run")
        if port != wanted:
            self._say_moved(wanted, port)
        return port

    def _say_moved(self, wanted: int, port: int) -> None:
        self._console.print(f"[yellow]Port {wanted} is busy, so the page is at port {port}.[/]")

    def _start_redis(self, instance: Instance) -> str:
        broker = Broker(self._options.data, instance.descriptor)
        self._processes.adopt(broker.process)
        broker.start()
        return broker.url

    def _remember(self, variables: Mapping[str, str]) -> None:
        """Keep the addresses for the person's own tools: `set -a; . var/run.env; rq info`."""
        names = ("REDIS_URL", "DATABASE_URL", "STORAGE_URL", "PORT")
        kept = {name: variables[name] for name in names if name in variables}
        environment.write_private(self._options.data / "run.env", kept)

    def _ready_site(self, settings: Settings, port: int) -> Site:
        """The site once our own web answers; at the next port when somebody else was quicker."""
        while True:
            site = Site(port, settings)
            try:
                self._wait_until_ready(site)
                return site
            except PortTaken:
                site.close()
                taken, port = port, self._port(port + 1)
                self._say_moved(taken, port)
                self._crew.move_web(port)

    def _wait_until_ready(self, site: Site) -> None:
        give_up = time.monotonic() + READY_WITHIN.total_seconds()
        while (reason := site.not_ready()) is not None:
            self._crew.check()
            if time.monotonic() > give_up:
                seconds = READY_WITHIN.total_seconds()
                raise ProcessEnded(f"The page is not ready after {seconds:.0f} s: {reason}\n{self._crew.where()}")
            time.sleep(0.1)

    def _stop(self, interrupted: bool) -> None:
        self._output.tells_stops = interrupted
        if interrupted:
            wait = f"{self._grace.total_seconds():.0f} s"
            self._output.warn(f"Stopping. Running jobs may take up to {wait} to finish. Ctrl-C again ends all at once.")
        else:
            self._output.loud = False
        self._processes.stop(self._output.stopping)

    def _use(self, site: Site) -> int:
        try:
            site.make_workspace()
            files = self._files(site)
            if not self._options.once:
                self._welcome(site)
            code = self._ingest(site, files) if files else 0
        except (Refused, httpx2.HTTPError) as error:
            self._crew.check()
            raise ProcessEnded(f"The page does not do what it should: {error}\n{self._crew.where()}") from None
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
        transfers = ingest.process(site, files, following=partial(Bars, self._console), alive=self._crew.check)
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
            self._crew.check()
            if _enter_pressed():
                self._welcome(site)


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
