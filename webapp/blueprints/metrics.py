"""The fleet's numbers as JSON, for dashboards that do not read Prometheus' format."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from webapp import operators
from webapp.fleet_metrics import FleetMetrics, as_json
from webapp.services import fleet

bp = APIBlueprint("metrics_json", __name__, tag="Health")


@bp.get("/api/metrics")
@operators.at_least("viewer", fleet_wide=True)
@bp.output(FleetMetrics)
def metrics() -> Any:
    """Jobs of the whole fleet by state since ever, and what the last five minutes were like."""
    return as_json(fleet())
