"""What live connections amount to, for /metrics: with several web processes in files that any of them adds up."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONNECTIONS = Gauge(
    "fleet_live_connections", "Live connections that are open", multiprocess_mode="livesum", registry=None
)
EVENTS = Counter("fleet_live_events", "Events that were sent to clients", ["transport"], registry=None)
SENT_BY_STREAM, SENT_BY_SOCKET = EVENTS.labels("sse"), EVENTS.labels("websocket")
