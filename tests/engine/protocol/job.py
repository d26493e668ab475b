"""One job as the model knows it, and the states and breaks that it may be in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["waiting", "running", "delayed", "ended", "aside", "gone"]
Broken = Literal["", "text", "no status", "no data", "results"]
STATUS = {"finished": "finished", "failed": "failed", "cancelled": "canceled"}
UNREADABLE = ("text", "no status")
LIVE = ("waiting", "running", "delayed")
DEATHS_OF_ITS_OWN, DEATHS_OF_WORKERS, DEATHS_BEFORE_ALONE = 3, 5, 2


@dataclass
class Job:
    """One job and what was done to it behind our back.

    `ghosts` are executions whose lease stands though the job is no longer theirs; `strays` is the most list entries
    that it may have too many; `shadow` says that its id may stand in a registry that somebody else forgot.
    """

    id: str
    type: str
    queue: str
    lane: str
    lock: str = ""
    kept: int = 1000
    gate: str = ""
    state: State = "waiting"
    status: str = "queued"
    execution: str = ""
    host: str = ""
    attempts: int | None = 0
    deaths: int = 0
    worker_deaths: int = 0
    settled: str = ""
    locked: bool = False
    final: bool = False
    cancelling: bool = False
    mortal: bool = False
    immortal: bool = False
    shadow: bool = False
    strays: int = 0
    broken: Broken = ""
    ghosts: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)

    @property
    def unusable(self) -> bool:
        """Whether no worker can run it."""
        return self.broken in (*UNREADABLE, "no data")

    def begin(self, execution: str, host: str) -> None:
        """A run of it was handed out."""
        assert self.state == "waiting", f"{self.id} was handed out while it was {self.state}"
        assert execution not in self.accepted, f"{self.id}: {execution} begins again after its outcome was accepted"
        if self.final:
            self.final, self.mortal, self.attempts, self.deaths, self.worker_deaths = False, False, 0, 0, 0
        self.state, self.status, self.execution, self.host = "running", "started", execution, host
        self.attempts = None if self.attempts is None else self.attempts + 1
        self.ghosts.discard(execution)

    def wait(self, charged: bool) -> None:
        """It goes back to its queue; only a run that ended by itself is charged."""
        self.state, self.status = "waiting", "queued"
        if not charged and self.attempts is not None:
            self.attempts -= 1

    def end(self, status: str) -> None:
        """Nothing more will happen to it."""
        self.state, self.status, self.final, self.locked = "ended", status, True, False
        self.mortal, self.immortal = True, False
        self.broken = "" if self.broken == "no status" else self.broken

    def set_aside(self) -> None:
        """It is in the quarantine."""
        self.state, self.locked, self.mortal = "aside", False, True

    def vanish(self) -> None:
        """Its hash is gone, and with it all that was known of it."""
        self._forget(state="gone")

    def begin_anew(self) -> None:
        """Run again by hand: only what happened behind our back is still so."""
        broken: Broken = "" if self.broken == "no status" else self.broken
        self._forget(broken=broken)

    def lose_run(self) -> None:
        """Somebody took it from its run, whose lease still stands."""
        if self.state == "running":
            self.ghosts.add(self.execution)

    def runs(self) -> int:
        """How many leases it has, those too that are no longer its own: each keeps its place in a limit."""
        return len(self.ghosts | ({self.execution} if self.state == "running" else set()))

    def copy(self, **state: Any) -> Job:
        """A new job of the same id."""
        return Job(self.id, self.type, self.queue, self.lane, self.lock, self.kept, self.gate, **state)

    def _forget(self, **state: Any) -> None:
        fresh = self.copy(strays=self.strays, ghosts=self.ghosts, accepted=self.accepted, shadow=self.shadow, **state)
        self.__dict__.update(fresh.__dict__)
