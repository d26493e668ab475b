"""Server-sent events for the console: that something has changed, never what; the page asks for that itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

from jobs.engine import Fleet
from jobs.engine.pulse import pulse
from webapp import revocation
from webapp.live.connections import connections
from webapp.live.streams import COMMENT, KEEP_ALIVE, OPENING
from webapp.principal import Principal
from webapp.standings import Watched, unwatched

LOOK_EVERY = timedelta(seconds=1)
CHANGED = "event: changed\ndata: {}\n\n"


class Pulse:
    """The fleet's pulse, asked for at most once a second by all the streams of this process together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: tuple[Fleet | None, float, str] = (None, 0.0, "")

    def of(self, fleet: Fleet) -> str:
        """Not older than a second. Raises BrokerUnavailable."""
        with self._lock:
            known, at, word = self._asked
            if known is not fleet or time.monotonic() - at > LOOK_EVERY.total_seconds() * 0.9:
                word = pulse(fleet)
                self._asked = (fleet, time.monotonic(), word)
            return word


_pulse = Pulse()


def follow_changes(
    fleet: Fleet,
    principal: Principal,
    until: datetime,
    keep_alive: timedelta = KEEP_ALIVE,
    *,
    watched: Watched = unwatched,
) -> Generator[str]:
    """`changed` at once, then at most once a second until sign-in, account or process ends.

    Raises BrokerUnavailable.
    """
    sign_in = revocation.topic_of(principal)
    subscription = fleet.events.subscribe([sign_in], tenant=principal.tenant, after={sign_in: "0"})
    with subscription, connections.hold(principal.tenant, subscription.close), watched(subscription.close):
        seen, told = _pulse.of(fleet), time.monotonic()
        yield OPENING + CHANGED
        while not subscription.closed and datetime.now(UTC) < until:
            event = subscription.get(LOOK_EVERY.total_seconds())
            if event is not None and event.name == revocation.ENDED:
                return
            before, seen = seen, _pulse.of(fleet)
            if seen != before or time.monotonic() - told > keep_alive.total_seconds():
                told = time.monotonic()
                yield CHANGED if seen != before else COMMENT
