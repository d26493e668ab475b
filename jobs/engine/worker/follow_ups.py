"""What follows the end of a run besides its own record: RQ's dependents, repeats, rate limits and webhooks.

The settle script records a run that has any of these, in the step that writes its outcome. Whoever claims the record
does them and removes it; each may be done twice without harm (a webhook may be sent twice), so when a worker dies
another does its follow-ups again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any

import redis
import structlog

from jobs.engine import broker, keys, views
from jobs.engine.errors import BrokerUnavailable
from jobs.engine.scripts import script
from jobs.engine.worker import aftermath
from jobs.settings import Settings

AT_ONCE = 100
CLAIM = timedelta(seconds=15)
LOOK_EVERY, RETRY = timedelta(seconds=5), timedelta(seconds=0.5)
SENDERS = 4
ANSWER_WITHIN = timedelta(seconds=10)
JOIN = 2.0
AWAY = (BrokerUnavailable, redis.RedisError)
log = structlog.get_logger("worker")


class FollowUps(threading.Thread):
    """Does what is due at the start, as soon as it is woken, and every five seconds what others left undone.

    `done` is called when it was woken and has done everything, and when jobs may have been enqueued. Requests to
    strangers' servers wait on threads of their own.
    """

    def __init__(self, settings: Settings, done: Callable[[], None]) -> None:
        super().__init__(name="follow-ups", daemon=True)
        self._settings, self._done = settings, done
        self._client = broker.connect(settings, purpose="follow-ups", socket_timeout=ANSWER_WITHIN)
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._to_send: SimpleQueue[tuple[str, list[Callable[[], None]]]] = SimpleQueue()
        self._senders = 0
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._asked, self._answered, self._passes = 1, 0, 0

    def run(self) -> None:
        while not self._stopping.is_set():
            pause = RETRY
            try:
                self._work()
                pause = LOOK_EVERY
            except AWAY as error:
                log.debug("follow-ups wait", reason=str(error))
            except Exception:
                log.exception("follow-ups failed")
            self._woken.wait(pause.total_seconds())

    def wake(self) -> None:
        """Something is due; safe from any thread."""
        with self._lock:
            self._asked += 1
        self._woken.set()

    def stop(self) -> None:
        """End the thread soon; what it has not done is due again for others when its claim runs out."""
        self._stopping.set()
        self._woken.set()
        if self.is_alive():
            self.join(JOIN)

    @property
    def passes(self) -> int:
        """How often follow-ups were done: jobs may have been enqueued since this was another number."""
        return self._passes

    @property
    def busy(self) -> bool:
        """Whether it has not looked yet, or something that it was woken for, or has claimed, is not done yet."""
        with self._lock:
            return self._asked != self._answered or bool(self._in_hand)

    def _work(self) -> None:
        self._woken.clear()
        asked, before = self._asked, self._passes
        while self._pass() == AT_ONCE and not self._stopping.is_set():
            pass
        with self._lock:
            was_asked, self._answered = asked != self._answered, asked
        if was_asked or self._passes != before:
            self._done()

    def _pass(self) -> int:
        """How many follow-ups were due; those that others may have done meanwhile are not done again."""
        due, claimed = self._claim()
        for member in claimed:
            requests = aftermath.follow(self._client, member, self._settings)
            if requests:
                self._hand_over(member, requests)
            else:
                self._finish(member)
        self._passes += bool(due)
        return due

    def _claim(self) -> tuple[int, list[str]]:
        """How many were due, and those of them that are left to do: the script moves workflows on itself."""
        with self._lock:
            held = list(self._in_hand)
        with broker.translate_errors():
            seconds = int(CLAIM.total_seconds())
            reply: Any = script("claim_follow_ups")(self._client, keys.PREFIX, AT_ONCE, seconds, _now(), *held)
        return reply[0], [member.decode("utf-8", "replace") for member in reply[1:]]

    def _finish(self, member: str) -> None:
        with broker.translate_errors():
            self._client.zrem(keys.FOLLOW_UPS, member)

    def _hand_over(self, member: str, requests: list[Callable[[], None]]) -> None:
        with self._lock:
            self._in_hand.add(member)
        if self._senders < SENDERS:
            self._senders += 1
            threading.Thread(target=self._send, name=f"webhooks-{self._senders}", daemon=True).start()
        self._to_send.put((member, requests))

    def _send(self) -> None:
        while not self._stopping.is_set():
            member, requests = self._to_send.get()
            try:
                for request in requests:
                    request()
                self._finish(member)
            except AWAY as error:
                log.warning("a webhook may be sent again", reason=str(error))
            with self._lock:
                self._in_hand.discard(member)
            self._done()


def _now() -> str:
    return views.rfc3339(datetime.now(UTC))
