"""Figures as a table on the screen and as JSON beside the benchmarks."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"
Row = Mapping[str, Any]


def publish(name: str, title: str, rows: Sequence[Row], client: redis.Redis, **facts: Any) -> None:
    """Print the rows, all of the same columns, and keep them with the machine's facts in results/NAME.json."""
    show(title, rows, **facts)
    keep(name, title, rows, client, **facts)


def show(title: str, rows: Sequence[Row], **facts: Any) -> None:
    """Print the rows, all of the same columns, and the facts below them."""
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(width=200 if len(rows[0]) > 8 else None).print(table)
    for fact, value in facts.items():
        Console().print(f"{fact.replace('_', ' ')}: {value}", markup=False)


def keep(name: str, title: str, rows: Sequence[Row], client: redis.Redis, folder: Path = RESULTS, **facts: Any) -> None:
    """Keep the rows with the facts and the machine's in FOLDER/NAME.json."""
    result = {"title": title, "rows": list(rows), **facts, "machine": machine(client)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table of markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_shown(row[column]) for column in head] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine(client: redis.Redis) -> dict[str, Any]:
    """What the figures depend on; the load is what others did on the machine just then."""
    server: Mapping[str, Any] = client.info("server")
    return {
        "measured": datetime.now(UTC).isoformat(timespec="minutes"),
        "cores": len(os.sched_getaffinity(0)),
        "load_1_min": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "redis": f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}",
        "system": f"{platform.system()} {platform.machine()}",
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """p50, p99 and the largest."""
    return {
        "p50": round(percentile(values, 0.5), digits),
        "p99": round(percentile(values, 0.99), digits),
        "max": round(max(values), digits),
    }


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
