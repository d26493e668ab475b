"""Why a job waits, as a value and as a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Reason = Literal[
    "queue",
    "lane_full",
    "limit",
    "turn",
    "rate_window",
    "paused",
    "breaker_open",
    "suspended",
    "no_worker",
    "runs_alone",
    "scheduled",
    "retry",
    "dependencies",
    "rq_rate_limit",
    "nowhere",
]
SENTENCES: Mapping[Reason, str] = {
    "queue": "It is in its queue{behind}.",
    "lane_full": "All slots of {what} are taken{behind}.",
    "limit": "As many run as its limit allows{behind}.",
    "turn": "It waits for its turn among jobs of its own kind{behind}.",
    "rate_window": "As many jobs of {what} have begun as its rate allows{until}{behind}.",
    "paused": "The {what} is paused.",
    "breaker_open": "A provider of its lane fails: the breaker {what} is open{until}.",
    "suspended": "All workers are suspended.",
    "no_worker": "No worker listens to {what}.",
    "runs_alone": "It has to run alone, and no worker is idle{behind}.",
    "scheduled": "It is not to begin before its time{until}.",
    "retry": "It failed and is tried again{until}.",
    "dependencies": "It waits for other jobs to finish.",
    "rq_rate_limit": "RQ's own rate limit {what} holds it.",
    "nowhere": "It is in no list: something took it out by hand. Run it again.",
}


class Waiting(BaseModel):
    """Why a job waits; what a reason has nothing to say about is null.

    `ahead` jobs come before it in the list where it lies, and `at_least` so many when the list is long. `jobs` keep it
    from running: those of its own tenant; `others` counts the rest. `what` is a queue, lane, worker or limit, and
    `text` a sentence for people.
    """

    model_config = ConfigDict(frozen=True)

    reason: Reason
    text: str
    what: str | None = None
    until: datetime | None = None
    ahead: int | None = None
    at_least: bool = False
    jobs: tuple[str, ...] = ()
    others: int = 0


def of_reply(values: Mapping[str, Any]) -> Waiting:
    """What lua/why.lua told, and the sentence for it."""
    facts = dict(values)
    until_ms = facts.pop("until_ms", None)
    until = None if until_ms is None else datetime.fromtimestamp(until_ms / 1000, UTC)
    return Waiting(text=_sentence(facts, until), until=until, **facts)


def _sentence(facts: Mapping[str, Any], until: datetime | None) -> str:
    ahead = facts.get("ahead")
    return SENTENCES[facts["reason"]].format(
        what=" ".join(facts.get("what", "").split(":", 1)),
        until="" if until is None else f", until {until:%Y-%m-%d %H:%M:%S} UTC",
        behind="" if ahead is None else f", behind {'at least ' if facts.get('at_least') else ''}{ahead} others",
    )
