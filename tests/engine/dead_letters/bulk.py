"""Run as a process of its own: carry out a bulk action, telling each batch, so that it can be killed in between."""

from __future__ import annotations

import sys

from jobs.engine import connect
from jobs.engine.dead_letters import actions
from jobs.settings import Settings


def main(verb: str, bound: str) -> None:
    actions.AT_ONCE = 5
    letters = connect(Settings.from_env()).discover().dead_letters
    cursor = None
    while True:
        done = getattr(letters, verb)(bound, by="bulk", most=5, cursor=cursor)
        print(done.done, file=sys.stderr, flush=True)
        sys.stdin.readline()
        cursor = done.next_cursor
        if cursor is None:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
