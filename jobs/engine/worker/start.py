"""How a worker process comes up: what its command line says, then everything loaded and forked, then connections."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from jobs.engine import fleet as fleets
from jobs.engine import logs
from jobs.engine.worker import template
from jobs.engine.worker.fleet_worker import FleetWorker
from jobs.settings import InvalidSettings, Settings

NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
FLAGS = {
    "--threads": ("worker_threads", "jobs that a child runs at once"),
    "--max-jobs-per-child": ("max_jobs_per_child", "replace a child after so many jobs"),
    "--max-rss-mb": ("max_rss_mb", "replace a child whose memory has grown over so many MB"),
}
"""Each flag and the field of the settings that it sets."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Have a command line take the worker's flags."""
    for flag, (field, text) in FLAGS.items():
        parser.add_argument(flag, dest=field, type=int, metavar="N", help=text)
    parser.add_argument("--name", type=_name, help="a name of its own that stays, so that a pause outlives its restart")


def with_flags(settings: Settings, parser: argparse.ArgumentParser, options: argparse.Namespace) -> Settings:
    """The settings as the flags change them; ends the process with a usage message where they can't be used."""
    try:
        return settings.with_flags({field: getattr(options, field) for field, _ in FLAGS.values()})
    except InvalidSettings as error:
        parser.error(str(error))


def run(settings: Settings, queues: Sequence[str], burst: bool, name: str | None = None) -> int:
    """Run jobs of these queues until told to stop, or (`burst`) until there are none. Waits for Redis."""
    logs.configure(settings, "worker")
    fleet = fleets.connect(settings)
    FleetWorker.settings, FleetWorker.template = settings, template.fork(fleet)
    fleet.wait_for_broker()
    FleetWorker(list(queues), name, connection=fleet.redis).work(burst=burst)
    return 0


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"letters, digits, '-', '_' and '.' make a name, not {text!r}")
    return text
