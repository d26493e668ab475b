"""Keeping dead letters within their age and number; apart from the rest of them, since every worker does it."""

from __future__ import annotations

import redis

from jobs.engine.broker import translate_errors
from jobs.engine.keys import PREFIX
from jobs.engine.scripts import script
from jobs.settings import Settings

AT_ONCE = 500
MOST_ROUNDS = 20


def keep_within(client: redis.Redis, settings: Settings) -> None:
    """Drop what is too old or too many, up to 10,000, and entries whose job is gone. Raises BrokerUnavailable."""
    age = int(settings.dead_letter_max_age.total_seconds())
    with translate_errors():
        for number in range(MOST_ROUNDS):
            said = (PREFIX, age, settings.dead_letter_max_count, AT_ONCE, "" if number else "1")
            if script("bound_dead_letters")(client, *said) < AT_ONCE:
                return
