"""Live connections of accounts, ended as soon as the account is removed or is another one than at the sign-in."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import partial

import structlog

from jobs.engine import BrokerUnavailable
from webapp.accounts import Accounts
from webapp.eras import Eras, content_of
from webapp.principal import Principal, Standing

LOOK_EVERY = timedelta(seconds=2)
Watched = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Takes what ends a connection, and watches over it while the context lasts."""
log = structlog.get_logger("webapp")


def unwatched(end: Callable[[], None]) -> AbstractContextManager[None]:
    """Of a sign-in that is no account's: nothing is watched."""
    return nullcontext()


class Standings:
    """Looks every two seconds at the accounts that have live connections in this process, and only while there are any.

    It looks at the accounts as this process knows them, and at the eras that all processes share, in one note.
    """

    def __init__(self, accounts: Accounts, eras: Eras, key: str) -> None:
        self._accounts, self._eras, self._key = accounts, eras, key
        self._lock = threading.Lock()
        self._held: dict[object, tuple[Standing, Callable[[], None]]] = {}
        self._is_looking = False

    def of(self, principal: Principal) -> Watched:
        """What watches over a connection of that sign-in; `end` is called once, in a thread of its own."""
        return unwatched if principal.standing is None else partial(self._hold, principal.standing)

    @contextmanager
    def _hold(self, standing: Standing, end: Callable[[], None]) -> Iterator[None]:
        key = object()
        try:
            with self._lock:
                self._held[key] = (standing, end)
                if not self._is_looking:
                    threading.Thread(target=self._look, name="standings", daemon=True).start()
                    self._is_looking = True  # only now: a process without a thread left tries again with the next one
            yield
        finally:
            with self._lock:
                self._held.pop(key, None)

    def _look(self) -> None:
        while self._goes_on():
            try:
                self._end_others()
            except Exception:
                log.exception("it could not be seen whether accounts have changed")
            time.sleep(LOOK_EVERY.total_seconds())

    def _goes_on(self) -> bool:
        with self._lock:
            self._is_looking = bool(self._held)
            return self._is_looking

    def _end_others(self) -> None:
        with self._lock:
            held = dict(self._held)
        is_seen_here = False
        words = self._words()
        for key, (standing, end) in held.items():
            is_same_here = self._is_same(standing)
            if is_same_here and (not words or words.get(standing.account) == standing.era):
                continue
            is_seen_here = is_seen_here or not is_same_here
            threading.Thread(target=end, daemon=True).start()
            with self._lock:
                self._held.pop(key, None)
        if is_seen_here:
            self._eras.notice()

    def _is_same(self, standing: Standing) -> bool:
        account = self._accounts.named(standing.account)
        return account is not None and hmac.compare_digest(standing.proof, content_of(account, self._key))

    def _words(self) -> Mapping[str, str]:
        """Each account's era; nothing while nobody can tell."""
        try:
            return self._eras.words()
        except BrokerUnavailable:
            return {}
