"""A scheduler process for the job types that its arguments declare: NAME=SECONDS..."""

from __future__ import annotations

import sys
from datetime import timedelta

from jobs.engine import Context, Limit, Payload, connect, job
from jobs.engine.scheduler import run
from jobs.settings import Settings


class Nothing(Payload):
    """A payload without fields."""


def body(payload: Nothing, context: Context) -> None:
    """Nothing is done."""


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        name, _, seconds = argument.partition("=")
        job(name, every=timedelta(seconds=float(seconds)), overlap="queue", limit=Limit(1000))(body)
    sys.exit(run(connect(Settings.from_env())))
