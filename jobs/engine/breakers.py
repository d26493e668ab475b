"""Circuit breakers, one a lane and provider, shared by the fleet: while one is open its lane's jobs wait uncharged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import redis

from jobs.engine import keys, lanes
from jobs.engine.broker import translate_errors
from jobs.engine.errors import Conflict, NotFound
from jobs.engine.scripts import script
from jobs.settings import Settings

State = Literal["closed", "open", "half_open"]
PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
LONGEST_REASON = 200
NOTHING = timedelta(0)


@dataclass(frozen=True)
class Breaker:
    """One that is not closed: `until` nothing of the lane begins; then a probe decides.

    `since` is when it left `closed`, `times` how often in a row it opened, `reason` the failure that opened it last.
    """

    lane: str
    provider: str
    state: State
    until: datetime
    since: datetime | None = None
    times: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        """`LANE/PROVIDER`."""
        return f"{self.lane}/{self.provider}"


@dataclass(frozen=True)
class Verdict:
    """A breaker's state after a call and before it, and for how long (by Redis' clock) nothing of its lane begins."""

    state: State
    wait: timedelta
    before: State


class Breakers:
    """The breakers of a fleet. Every method raises BrokerUnavailable, those with a lane and provider NotFound too."""

    def __init__(self, settings: Settings, client: Callable[[], redis.Redis]) -> None:
        self._settings, self._client = settings, client

    def all(self) -> list[Breaker]:
        """Those that are not closed, by name."""
        with translate_errors():
            found: Any = self._client().zrange(keys.BREAKERS, 0, -1, withscores=True)
            with self._client().pipeline(transaction=False) as pipe:
                for name, _ in found:
                    pipe.hgetall(keys.breaker(name.decode()))
                details = pipe.execute()
        breakers = [_of(name, until, values) for (name, until), values in zip(found, details, strict=True)]
        return sorted(breakers, key=lambda breaker: breaker.name)

    def failed(self, lane: str, provider: str, reason: str = "", after: timedelta | None = None) -> Verdict:
        """A provider failed; with `after` it asked for so much time and the breaker opens at once."""
        return self._tell(lane, provider, "failed", reason, max(after or NOTHING, NOTHING))

    def worked(self, lane: str, provider: str) -> Verdict:
        """A provider answered, so earlier failures no longer count, and a probe closes its breaker."""
        return self._tell(lane, provider, "worked")

    def look(self, lane: str, provider: str) -> Verdict:
        """The state as it is."""
        return self._tell(lane, provider, "look")

    def open(self, lane: str, provider: str, for_: timedelta, reason: str = "opened by hand") -> Verdict:
        """Open it by hand for at least so long. Raises Conflict when too many are open, and then it is not."""
        verdict = self._tell(lane, provider, "open", reason, for_)
        if verdict.state != "open":
            raise Conflict("200 breakers are open, and there can't be more: close one first")
        return verdict

    def close(self, lane: str, provider: str) -> Verdict:
        """Close it by hand: its lane goes on at once."""
        return self._tell(lane, provider, "close", "closed by hand")

    def _tell(self, lane: str, provider: str, what: str, reason: str = "", asked: timedelta = NOTHING) -> Verdict:
        limits = self._settings
        with translate_errors():
            state, _, wait_ms, before = script("breaker")(
                self._client(), keys.PREFIX, name_of(lane, provider), what, limits.breaker_failures,
                _ms(limits.breaker_window), _ms(limits.breaker_open_for), _ms(limits.breaker_longest), _ms(asked),
                reason[:LONGEST_REASON],
            )  # fmt: skip
        return Verdict(state.decode(), timedelta(milliseconds=wait_ms), before.decode())


def name_of(lane: str, provider: str) -> str:
    """The name of a breaker. Raises NotFound for an unknown lane and for what is no provider."""
    if lane not in lanes.CONCURRENCY:
        raise NotFound(f"there is no lane {lane!r}; declared are {', '.join(sorted(lanes.CONCURRENCY))}")
    if not PROVIDER.fullmatch(provider):
        raise NotFound(f"{provider!r} is no provider: write up to 63 of a-z, 0-9, ., _ and -")
    return f"{lane}/{provider}"


def _of(name: bytes, until_ms: float, values: dict[bytes, bytes]) -> Breaker:
    lane, _, provider = name.decode().rpartition("/")
    since = values.get(b"since")
    return Breaker(
        lane=lane,
        provider=provider,
        state="half_open" if values.get(b"state") == b"half_open" else "open",
        until=_time(until_ms),
        since=_time(float(since)) if since else None,
        times=int(values.get(b"times", 0)),
        reason=values.get(b"reason", b"").decode("utf-8", "replace"),
    )


def _time(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)
