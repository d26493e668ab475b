"""The command line of `python worker.py`: run jobs, schedule them, pause and resume, or look whether all is well."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jobs.engine import connect, logs, pauses
from jobs.engine.worker import start
from jobs.settings import Settings


def main(settings: Settings, about: str | None = None, arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for; the process's exit code."""
    parser = _parser(settings, about)
    options = parser.parse_args(arguments)
    if options.check:
        from jobs import checkup

        return checkup.run(settings)
    if options.pause or options.resume:
        logs.configure(settings, "shell")
        return pauses.command(connect(settings), options.pause or [], options.resume or [])
    if not settings.use_job_queue:
        parser.error("USE_JOB_QUEUE=false: jobs run in the web processes, and there is nothing to do here")
    if not options.scheduler:
        settings = start.with_flags(settings, parser, options)
        return start.run(settings, options.queues, options.burst, options.name)
    from jobs.engine import scheduler

    logs.configure(settings, "scheduler")
    return scheduler.run(connect(settings))


def _parser(settings: Settings, about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about or __doc__)
    parser.add_argument("queues", nargs="*", default=list(settings.queue_weights), help="most urgent first")
    parser.add_argument("--scheduler", action="store_true", help="run the scheduler instead")
    parser.add_argument("--burst", action="store_true", help="end when the queues are empty")
    parser.add_argument("--check", action="store_true", help="look at every part of this set-up, and end")
    parser.add_argument("--pause", nargs="+", metavar="WHAT", help="only pause: queue|lane|worker|schedule:NAME")
    parser.add_argument("--resume", nargs="+", metavar="WHAT", help="only resume what was paused")
    start.add_flags(parser)
    return parser
