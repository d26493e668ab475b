"""A model of fleets as a discrete-event simulation: workers, their children, cores and single-threaded Redis servers.

A worker's parent alternates between one trip to Redis, which settles what its children have finished and leases what
they have room for, and its own work on those jobs. Children run handfuls of jobs. All processor time needs a core of
its host; a Redis does one trip after the other. Times are microseconds.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

JITTER = 0.2
"""Each time is drawn evenly from this share below to this share above its mean."""


@dataclass(frozen=True)
class Costs:
    """What a no-op job and a trip cost in microseconds of processor time; `idle` is Redis' time a second and worker."""

    redis_job: float
    redis_trip: float
    parent_job: float
    child_job: float
    idle: float = 0.0
    network: float = 50.0
    """There and back, without a processor."""


@dataclass(frozen=True)
class Layout:
    """How many of what; without cores of its own (`shared`), everything runs on one machine of so many cores."""

    workers: int
    children: int = 10
    handful: int = 16
    cores: float = 2
    servers: int = 1
    shared: bool = False


@dataclass(frozen=True)
class Outcome:
    """Jobs a second in all, the share of its time that a Redis was busy, and the mean number of jobs of a trip."""

    jobs_per_second: float
    redis_busy: float
    jobs_a_trip: float


class Clock:
    """What happens when."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._random = random.Random(seed)

    def later(self, micros: float, then: Callable[[], None]) -> None:
        """Do something after so long."""
        self._count += 1
        heapq.heappush(self._due, (self.now + micros, self._count, then))

    def jitter(self, micros: float) -> float:
        """A time drawn around this one."""
        return micros * self._random.uniform(1 - JITTER, 1 + JITTER)

    def run(self, micros: float) -> None:
        """Let so much time pass."""
        while self._due and self._due[0][0] <= micros:
            self.now, _, then = heapq.heappop(self._due)
            then()
        self.now = micros


class Places:
    """Cores of a host, or the one thread of a Redis: so many at once, the others in a queue; some run at less speed."""

    def __init__(self, count: int, speed: float = 1.0) -> None:
        self._free, self._speed = count, speed
        self._queue: deque[Callable[[], None]] = deque()
        self.busy_for = 0.0

    def take(self, then: Callable[[], None]) -> None:
        """Go on once there is a place, which `leave` gives back."""
        self._queue.append(then)
        self._admit()

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1
        self._admit()

    def use(self, clock: Clock, micros: float, then: Callable[[], None]) -> None:
        """Take a place for so long and go on."""

        def end() -> None:
            then()
            self.leave()

        self.busy_for += micros
        self.take(lambda: clock.later(micros / self._speed, end))

    def _admit(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            self._queue.popleft()()


class Worker:
    """One worker: the jobs its children have finished, its children with room, and whether its parent is at work."""

    def __init__(
        self,
        clock: Clock,
        costs: Costs,
        layout: Layout,
        host: Places,
        server: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._clock, self._costs, self._layout = clock, costs, layout
        self._host, self._server = host, server
        self._finished, self._free, self._busy = 0, layout.children, False
        self.settled = self.trips = 0

    def act(self) -> None:
        """Make the next trip, unless the parent is at work or there is nothing to ask for."""
        if self._busy or not (self._finished or self._free):
            return
        self._busy, self.trips = True, self.trips + 1
        settles, children = self._finished, self._free
        self._finished = self._free = 0
        jobs = (settles + children * self._layout.handful) / 2
        redis = self._clock.jitter(self._costs.redis_trip + jobs * self._costs.redis_job)
        parent = self._clock.jitter(jobs * self._costs.parent_job)

        def replied() -> None:
            self.settled += settles
            self._host.use(self._clock, parent, lambda: self._hand_out(children))

        self._clock.later(self._costs.network, lambda: self._server(redis, replied))

    def _hand_out(self, children: int) -> None:
        self._busy = False
        for _ in range(children):
            work = self._clock.jitter(self._layout.handful * self._costs.child_job)
            self._host.use(self._clock, work, self._returned)
        self.act()

    def _returned(self) -> None:
        self._finished += self._layout.handful
        self._free += 1
        self.act()


def simulate(costs: Costs, layout: Layout, seconds: float = 2.0, seed: int = 1) -> Outcome:
    """Run a fleet that never runs out of jobs; the first quarter of the time warms it up and does not count."""
    clock = Clock(seed)
    common = _host(layout)
    heartbeats = costs.idle * layout.workers / layout.servers / 1_000_000
    speed = max(0.001, 1 - heartbeats)
    servers = [Places(1, speed) for _ in range(layout.servers)]
    workers = []
    for number in range(layout.workers):
        host = common if layout.shared else _host(layout)
        call = _redis(clock, servers[number % layout.servers], common if layout.shared else None)
        workers.append(Worker(clock, costs, layout, host, call))
    for worker in workers:
        worker.act()
    clock.run(seconds * 250_000)
    earlier = _totals(workers, servers)
    clock.run(seconds * 1_000_000)
    settled, trips, *busy = (now - then for now, then in zip(_totals(workers, servers), earlier, strict=True))
    counted = seconds * 0.75
    share = max(busy) / counted / 1_000_000 + heartbeats
    return Outcome(settled / counted, min(1.0, share), settled / max(1.0, trips))


def _host(layout: Layout) -> Places:
    whole = max(1, round(layout.cores))
    return Places(whole, layout.cores / whole)


def _redis(clock: Clock, server: Places, host: Places | None) -> Callable[[float, Callable[[], None]], None]:
    """How a Redis is called: it has a processor of its own, or needs one of the common host's cores besides."""

    def call(micros: float, then: Callable[[], None]) -> None:
        if host is None:
            return server.use(clock, micros, then)

        def end() -> None:
            server.leave()
            then()

        server.busy_for += micros
        return server.take(lambda: host.use(clock, micros, end))

    return call


def _totals(workers: Sequence[Worker], servers: Sequence[Places]) -> list[float]:
    return [
        sum(each.settled for each in workers),
        sum(each.trips for each in workers),
        *(each.busy_for for each in servers),
    ]
