"""How much waits, runs and is delayed in each queue, noted once in ten seconds by whichever worker comes first."""

from __future__ import annotations

import json
from collections.abc import Sequence

import redis

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.scripts import script
from jobs.engine.statistics.scopes import steps_argument


def sample(client: redis.Redis, queues: Sequence[str]) -> bool:
    """Note it unless somebody has in this step; whether it was noted. Raises BrokerUnavailable."""
    with translate_errors():
        return bool(script("sample")(client, keys.PREFIX, steps_argument(), json.dumps(list(queues))))
