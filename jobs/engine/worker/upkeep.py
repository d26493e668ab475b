"""What RQ's own workers tidy up between jobs and FleetWorkers do in their place: ready jobs, rate limits, groups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import redis
from rq.group import Group
from rq.rate_limit import RateLimitRegistry
from rq.registry import ReadyJobRegistry
from rq.serializers import JSONSerializer

from jobs.engine.broker import translate_errors

GROUPS_EVERY = timedelta(minutes=10)


def run(client: redis.Redis, queues: Sequence[str]) -> None:
    """Enqueue jobs whose dependencies were met by a process that died, free leaked slots, forget empty groups.

    Raises BrokerUnavailable.
    """
    with translate_errors():
        for name in queues:
            ReadyJobRegistry(name, connection=client, serializer=JSONSerializer).cleanup()
        for registry in RateLimitRegistry.all(client):
            registry.cleanup()
        if Group.acquire_maintenance_lock(client, int(GROUPS_EVERY.total_seconds())):
            Group.clean_registries(client)
