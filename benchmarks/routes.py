"""How many uploads the web takes: our upload route beside the route that most Flask and RQ projects begin with.

Both run under the same gunicorn settings and take turns in short rounds, since what else runs here comes and goes. No
worker runs, so that only the routes are measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks import _report
from benchmarks._load import Load, drive
from benchmarks._stack import WORKSPACE, Stack, stack
from tests import corpus


@dataclass
class Target:
    """A route under load: its server's process, port and request, and what each round gave."""

    process: psutil.Process
    port: int
    request: bytes
    loads: list[Load] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def round(self, connections: int, seconds: float, *, counts: bool) -> None:
        """Drive it for a round. Raises RuntimeError when an upload was not accepted."""
        before = self._cpu()
        load = drive(self.port, self.request, connections=connections, seconds=seconds)
        if load.statuses != Counter({202: len(load.latencies)}):
            raise RuntimeError(f"not every upload was accepted: {dict(load.statuses)}")
        if counts:
            self.loads.append(load)
            self.cpu.append((self._cpu() - before) / len(load.latencies))

    def _cpu(self) -> float:
        """Seconds of processor time that the server's processes have used."""
        family = [self.process, *self.process.children()]
        return float(sum(times.user + times.system for times in (each.cpu_times() for each in family)))


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    with stack() as running:
        targets = {"rq-fleet": _ours(running), "naive Flask + RQ": _naive(running)}
        for number in range(options.rounds + 1):
            for target in targets.values():
                target.round(options.connections, options.seconds, counts=number > 0)  # the first warms both up
        title = f"Uploads of 2 kB, {options.connections} connections, {running.settings.web_concurrency} processes"
        rows = [_row(name, target) for name, target in targets.items()]
        ratio = _ratio(*(target.loads for target in targets.values()))
        _report.publish("routes", title, rows, running.fleet.redis, ratio=ratio, rounds=options.rounds)


def _ours(running: Stack) -> Target:
    address = running.start_web()
    with running.client(address) as client:
        client.post("/api/workspaces", json={"slug": WORKSPACE, "name": "Benchmark"}).raise_for_status()
        authorisation = client.headers["Authorization"]
    return _target(running, address, f"/api/workspace/{WORKSPACE}/upload", f"Authorization: {authorisation}")


def _naive(running: Stack) -> Target:
    folder = running.data / "naive"
    folder.mkdir()
    running.environment["NAIVE_FOLDER"] = str(folder)
    return _target(running, running.start_web("benchmarks._naive:create_app()"), "/upload")


def _target(running: Stack, address: str, path: str, *headers: str) -> Target:
    port = urlsplit(address).port or 80
    content = corpus.plain("Note", ["measure"] * 250)[:2048]
    head = b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="note.txt"\r\n'
    body = head + b"Content-Type: text/plain\r\n\r\n" + content + b"\r\n--frontier--\r\n"
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: multipart/form-data; boundary=frontier",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    return Target(psutil.Process(running.processes[-1].pid), port, request)


def _row(name: str, target: Target) -> dict[str, Any]:
    loads, latencies = target.loads, [1000 * each for load in target.loads for each in load.latencies]
    return {
        "route": name,
        "requests/s": round(median(load.per_second for load in loads)),
        "lowest": round(min(load.per_second for load in loads)),
        "highest": round(max(load.per_second for load in loads)),
        "p50 ms": round(_report.percentile(latencies, 0.5), 1),
        "p99 ms": round(_report.percentile(latencies, 0.99), 1),
        "web CPU ms": round(1000 * median(target.cpu), 2),
    }


def _ratio(ours: Sequence[Load], naive: Sequence[Load]) -> float:
    """The median of the ratios of neighbouring rounds: what slows the machine down slows both."""
    return round(median(a.per_second / b.per_second for a, b in zip(ours, naive, strict=True)), 2)


if __name__ == "__main__":
    main()
