"""What operators are woken for: Redis' memory, how far the ledger is behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine import Fleet
from jobs.engine.broker import translate_errors
from jobs.engine.ledger.backlog import backlog

log = structlog.get_logger("webapp")


def memory(fleet: Fleet) -> Iterator[Metric]:
    """What Redis takes of what it may have; no limit is 0. Raises BrokerUnavailable."""
    with translate_errors():
        info: Any = fleet.redis.info("memory")
    yield GaugeMetricFamily("fleet_redis_memory_bytes", "Memory that Redis takes", value=info["used_memory"])
    yield GaugeMetricFamily("fleet_redis_memory_limit_bytes", "maxmemory, 0 for none", value=info.get("maxmemory", 0))


def ledger(fleet: Fleet) -> Iterator[Metric]:
    """Rows that should be in Redis by now; nothing while the database is away."""
    try:
        found = backlog(fleet.database)
    except SQLAlchemyError as error:
        log.warning("the ledger can't be asked", error=type(error).__name__)
        return
    yield GaugeMetricFamily("fleet_ledger_rows_behind", "Durable jobs that wait to be pushed", value=found.rows)
    seconds = found.oldest.total_seconds()
    yield GaugeMetricFamily("fleet_ledger_lag_seconds", "How long the oldest of them has waited", value=seconds)
