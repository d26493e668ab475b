"""Pauses: a queue, lane, worker or schedule begins no further jobs until it is resumed, whatever is restarted."""

from __future__ import annotations

import re
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.engine import keys, lanes
from jobs.engine.broker import translate_errors
from jobs.engine.errors import FleetError, NotFound

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

WHAT = re.compile(r"(queue|lane|worker|schedule):([^\s,]{1,200})")


class Pauses:
    """What of a fleet is paused, each written `queue:NAME`, `lane:NAME`, `worker:NAME` or `schedule:NAME`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def pause(self, *whats: str) -> list[str]:
        """Begin no further jobs of these; what runs goes on. All that is paused now. Raises as `resume` does."""
        return self._change("sadd", _checked(whats))[1]

    def resume(self, *whats: str) -> list[str]:
        """Go on with these; workers are woken. All that is still paused.

        Raises NotFound for a lane that is not declared or what is none of these; BrokerUnavailable.
        """
        return self._change("srem", _checked(whats))[1]

    def switch(self, what: str, *, paused: bool) -> bool:
        """Pause or resume one; whether it was paused before, in one step. Raises as `resume` does."""
        return what in self._change("sadd" if paused else "srem", _checked([what]))[0]

    def all(self) -> list[str]:
        """All that is paused. Raises BrokerUnavailable."""
        return self._change("", ())[1]

    def _change(self, command: str, whats: Sequence[str]) -> tuple[list[str], list[str]]:
        """All that is paused before and after."""
        with translate_errors(), self._fleet.redis.pipeline() as pipe:
            pipe.smembers(keys.PAUSED)
            if whats:
                getattr(pipe, command)(keys.PAUSED, *whats)
                pipe.smembers(keys.PAUSED)
                pipe.publish(keys.FILED, "pauses")
            replies: list[Any] = pipe.execute()
        before, after = ([each.decode("utf-8", "replace") for each in replies[n]] for n in (0, 2 if whats else 0))
        return sorted(before), sorted(after)


def _checked(whats: Iterable[str]) -> list[str]:
    return [_one_checked(what) for what in whats]


def _one_checked(what: str) -> str:
    written = WHAT.fullmatch(what)
    if written is None:
        raise NotFound(f"write queue:NAME, lane:NAME, worker:NAME or schedule:NAME, not {what!r}")
    if written[1] == "lane" and written[2] not in lanes.CONCURRENCY:
        raise NotFound(f"there is no lane {written[2]!r}; declared are {', '.join(sorted(lanes.CONCURRENCY))}")
    return what


def command(fleet: Fleet, pause: Iterable[str], resume: Iterable[str]) -> int:
    """What a command line asks for; prints what is paused then. Returns the exit code."""
    resume, pause = list(resume), list(pause)
    try:
        before = set(fleet.pauses.all())
        fleet.pauses.resume(*resume)
        paused = fleet.pauses.pause(*pause)
    except FleetError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _write_down(fleet, before, {**dict.fromkeys(resume, False), **dict.fromkeys(pause, True)})
    sys.stdout.write("".join(f"paused: {what}\n" for what in paused) or "nothing is paused\n")
    return 0


def _write_down(fleet: Fleet, before: Container[str], asked: Mapping[str, bool]) -> None:
    """A line of the audit log for each; it is not loaded by workers."""
    from jobs.engine.audit_log import of_shell

    by = of_shell()
    for what, is_pause in asked.items():
        kind, _, name = what.partition(":")
        action = f"{kind}.{'pause' if is_pause else 'resume'}"
        was, now = {"paused": what in before}, {"paused": is_pause}
        fleet.audit.record(action=action, target=name, by=by, before=was, after=now)
