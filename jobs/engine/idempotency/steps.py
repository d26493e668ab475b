"""Steps of a job that are done once across its runs; what they returned is kept with the job."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar
from uuid import uuid4

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.errors import BrokerUnavailable, CircuitOpen, Permanent, Superseded, TimedOut
from jobs.engine.scripts import script

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

T = TypeVar("T")
Word = Literal["new", "again", "done", "full", "ok", "missing", "stale"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,98}")
KEPT, LONGER = timedelta(days=90), timedelta(days=30)
"""Since the last step, or so much longer than rows of ended jobs are kept. A job that finishes takes its steps along;
one that ended otherwise keeps them for as long as it can be run again."""
PATIENCE, ASK_AGAIN = timedelta(seconds=10), timedelta(seconds=0.2)
"""How long, and how often, a store that is away is told that a step is done."""
MOST_STEPS = 1000
LARGEST = 64 * 1024
"""Bytes of JSON that a step may return."""


class Said(NamedTuple):
    """What a store says: done with a `value`, or a word about the step."""

    word: Word
    value: str = ""


class Store(Protocol):
    """Where the steps of one run's job are kept."""

    def begin(self, name: str, mark: str = "") -> Said:
        """Note that this run begins a step: anew where the mark is another. Raises BrokerUnavailable."""

    def end(self, name: str, result: str) -> Said:
        """Note that it is done, and its result as JSON. Raises BrokerUnavailable."""

    def drop(self, name: str) -> Said:
        """Note that it did not happen. Raises BrokerUnavailable."""

    def token(self) -> int:
        """This run's fencing token. Raises BrokerUnavailable, Superseded."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One run as others should know it: `token` is higher than that of every earlier run of any job."""

    job_id: str
    id: str
    attempt: int
    token: int


class Step:
    """One named step. `id` is the same in every run of the job: an idempotency key for whoever the step talks to.

    `acceptance` stands for the job as it was accepted once; another one of its id has another.
    """

    __slots__ = ("_mark", "_name", "_store", "id")

    def __init__(self, store: Store, acceptance: str, name: str) -> None:
        self._store, self._name, self.id = store, checked(name), f"{acceptance}:{name}"
        self._mark = uuid4().hex[:8]

    def run(
        self,
        do: Callable[[], T],
        in_doubt: Callable[[], T] | None = None,
        *,
        not_done: tuple[type[Exception], ...] = (),
    ) -> T:
        """What `do` returned in the run that did it; that is this run where none did before.

        A run that died inside `do`, or in which it raised, leaves the step in doubt: then `in_doubt` is called, which
        may ask what became of it, or raise; without one `do` is repeated. Errors of the kinds `not_done`, and
        CircuitOpen, say for sure that it did not happen. The result is JSON of 64 KiB at most. Raises what `do` raises,
        and Superseded where another run of the job has begun meanwhile: before `do`, or after it, when nothing may be
        kept any more. Raises Permanent, BrokerUnavailable.
        """
        said = self._allowed(self._store.begin(self._name, self._mark))
        if said.word == "done":
            known: T = json.loads(said.value)
            return known
        act = in_doubt if said.word == "again" and in_doubt is not None else do
        self._mark = uuid4().hex[:8]
        try:
            result = act()
        except (TimedOut, MemoryError):
            raise
        except Exception as error:
            if act is do and (in_doubt is None or isinstance(error, (*not_done, CircuitOpen))):
                with suppress(BrokerUnavailable):
                    self._store.drop(self._name)
            raise
        self._allowed(self._end(as_json(result)))
        return result

    def _end(self, result: str) -> Said:
        """Note the result. It is done, so a store that is away is told for some time before that is a doubt."""
        give_up = time.monotonic() + PATIENCE.total_seconds()
        while True:
            try:
                return self._store.end(self._name, result)
            except BrokerUnavailable:
                if time.monotonic() > give_up:
                    raise
            time.sleep(ASK_AGAIN.total_seconds())

    def _allowed(self, said: Said) -> Said:
        if said.word in ("stale", "missing"):
            raise Superseded(f"this run may not do the step {self._name!r}: it is no longer the job's")
        if said.word == "full":
            raise Permanent(f"a job has {MOST_STEPS} steps at most: give them names that say what, not when")
        return said


class RedisStore:
    """Steps beside the job in Redis; an empty execution is not checked against a lease (stock workers have none)."""

    __slots__ = ("_execution_id", "_fleet", "_is_leased", "_job_id", "_nonce")

    def __init__(
        self, fleet: Fleet, job_id: str, execution_id: str, *, nonce: str = "", is_leased: bool = True
    ) -> None:
        self._fleet, self._job_id, self._execution_id, self._is_leased = fleet, job_id, execution_id, is_leased
        self._nonce = nonce

    def begin(self, name: str, mark: str = "") -> Said:
        """Note that this run begins a step."""
        return self._call("begin", name, f"{self._execution_id} {mark}")

    def end(self, name: str, result: str) -> Said:
        """Note that it is done."""
        return self._call("end", name, result)

    def drop(self, name: str) -> Said:
        """Note that it did not happen."""
        return self._call("drop", name)

    def token(self) -> int:
        """This run's fencing token."""
        from jobs.engine.idempotency import tokens

        is_new = self._fleet.settings.local_fallback and tokens.taken_without_redis(self._fleet.database)
        word = b"reserve 0" if is_new else self._ask_for_token("", "")
        while word.startswith(b"reserve "):
            reserved = tokens.reserve(self._fleet.database, int(word.split()[1]))
            word = self._ask_for_token(reserved.last, reserved.after)
        if not word.isdigit():
            raise Superseded("this run gets no fencing token: it is no longer the job's")
        return int(word)

    def _ask_for_token(self, reserved: int | str, after: int | str) -> bytes:
        about = (self._job_id, self._execution_id, int(self._is_leased), self._nonce, self._seconds, reserved, after)
        with translate_errors():
            word: bytes = script("token")(self._fleet.redis, keys.PREFIX, *about)
        return word

    @property
    def _seconds(self) -> int:
        return int(max(KEPT, self._fleet.settings.ledger_retention + LONGER).total_seconds())

    def _call(self, act: str, name: str, said: str = "") -> Said:
        leased = self._execution_id if self._is_leased else ""
        about = (self._job_id, leased, self._nonce, self._seconds, act, name, MOST_STEPS, said)
        with translate_errors():
            word, *value = script("step")(self._fleet.redis, keys.PREFIX, *about)
        return Said(word.decode(), value[0].decode() if value else "")


def checked(name: str) -> str:
    """The name of a step. Raises Permanent for what can't be one."""
    if not NAME.fullmatch(name):
        raise Permanent(f"{name!r} is no name of a step: up to 99 letters, digits and ._:/-, a letter or digit first")
    return name


def as_json(result: Any) -> str:
    """A step's result as it is kept. Raises Permanent for what can't be."""
    try:
        text = json.dumps(result, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Permanent(f"the step's result is no JSON: {error}") from None
    if len(text) > LARGEST:
        raise Permanent("the step's result is over 64 KiB: store the data and return its key")
    return text
