"""FleetWorker beside stock RQ and the peers: throughput, latency, sleeping jobs, memory and enqueueing.

Systems take turns in each round, so that what slows the machine down slows all of them; every job is counted: all
ran exactly once and every result is read back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _environments, _report
from benchmarks._bench import ROOT, Bench, Figures, WrongResults
from benchmarks._broker import Broker, broker
from benchmarks._plot import Panel, plot
from benchmarks._systems import OURS, System, all_systems

STOCK = "rq"
MEASURES = ("throughput", "latency", "sockets", "memory", "enqueue")
COLUMNS: Mapping[tuple[str, str], tuple[str, int]] = {
    ("throughput", "jobs/s"): ("jobs/s", 0),
    ("throughput", "worker µs/job"): ("worker µs/job", 0),
    ("throughput", "Redis µs/job"): ("Redis µs/job", 0),
    ("enqueue", "one by one/s"): ("enqueue/s", 0),
    ("enqueue", "bulk/s"): ("bulk/s", 0),
    ("latency", "p50 ms"): ("p50 ms", 2),
    ("latency", "p99 ms"): ("p99 ms", 2),
    ("sockets", "at once"): ("at once", 0),
    ("sockets", "s for 100"): ("s for 100", 2),
    ("memory", "MB a slot"): ("MB a slot", 1),
}
PANELS = (
    Panel("jobs/s", "No-op jobs a second, one worker"),
    Panel("worker µs/job", "Worker: processor µs a job", less_is_better=True),
    Panel("p50 ms", "Enqueue to first line, p50 ms", less_is_better=True),
    Panel("p99 ms", "Enqueue to first line, p99 ms", less_is_better=True),
    Panel("MB a slot", "Memory a slot, MB", less_is_better=True),
    Panel("Redis µs/job", "Redis: processor µs a job", less_is_better=True),
    Panel("enqueue/s", "Enqueued a second, one by one"),
    Panel("bulk/s", "Enqueued a second, in bulk"),
)
Results = dict[str, dict[str, list[Figures]]]
"""Figures by system and measure, one entry a round."""


def main() -> int:
    """Measure, print and keep; the exit status is 1 when a system failed or a job was lost or doubled."""
    options = _options()
    systems, missing = _usable(options.systems)
    with broker(options.redis_server) as running, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        benches = [_bench(each, running, options.env_dir, Path(folder)) for each in systems]
        results, failures = run(benches, options.measures, options.rounds, options.jobs, options.latency_jobs)
        facts = {"rounds": options.rounds, "jobs": options.jobs, "not_run": missing, "failures": failures}
        publish(systems, results, running, options.into, **facts)
    return 1 if failures else 0


def run(
    benches: Sequence[Bench], measures: Sequence[str], rounds: int, jobs: int, latency_jobs: int
) -> tuple[Results, list[str]]:
    """Each measure of each bench in each round, every other round backwards; the figures, and what failed."""
    results: Results = defaultdict(lambda: defaultdict(list))
    failures: list[str] = []
    for number in range(rounds):
        for measure in measures:
            for bench in benches if number % 2 == 0 else reversed(benches):
                print(f"round {number + 1}/{rounds}: {measure} of {bench.system.name}", file=sys.stderr, flush=True)
                try:
                    results[bench.system.name][measure].append(_measured(bench, measure, jobs, latency_jobs))
                except (WrongResults, RuntimeError) as error:
                    failures.append(f"{measure} of {bench.system.name}, round {number + 1}: {error}")
                    print(failures[-1], file=sys.stderr)
    return results, failures


def table(systems: Sequence[System], results: Results) -> list[dict[str, Any]]:
    """A row a system: medians over the rounds, and the median ratio to stock RQ within the same rounds."""
    rows = []
    for system in systems:
        measured = results.get(system.name, {})
        row: dict[str, Any] = {"system": system.title}
        for (measure, figure), (column, digits) in COLUMNS.items():
            values = [each[figure] for each in measured.get(measure, []) if figure in each]
            row[column] = _rounded(median(values), digits) if values else ""
            if column == "jobs/s":
                row["x stock RQ"] = _ratio(values, [each[figure] for each in results.get(STOCK, {}).get(measure, [])])
        rows.append(row)
    return rows


def publish(systems: Sequence[System], results: Results, running: Broker, into: Path | None, **facts: Any) -> None:
    """Print the table; keep it as JSON (with each round's figures), as markdown and as a plot in the folder `into`."""
    rows, title = table(systems, results), "Workers side by side"
    _report.show(title, rows, **facts)
    if into is None:
        return
    raw = {name: {measure: list(each) for measure, each in found.items()} for name, found in results.items()}
    _report.keep("workers", title, rows, running.client, into, **facts, figures=raw)
    (into / "workers.md").write_text(_report.markdown(rows), encoding="utf-8")
    ours = [system.title for system in systems if system.environment == OURS]
    (into / "workers.svg").write_text(plot(title, rows, PANELS, "system", ours), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [each.name for each in all_systems()]
    parser.add_argument("--systems", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--rounds", type=int, help="5")
    parser.add_argument("--jobs", type=int, help="no-op jobs of a round for the fast systems (20,000)")
    parser.add_argument("--latency-jobs", type=int, help="single jobs of a round (250)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 4,000 and 100 jobs; keeps nothing")
    parser.add_argument("--env-dir", type=Path, default=_environments.default_folder(), help="the peers' environments")
    parser.add_argument("--redis-server", help="the server's binary (redis-server on the PATH)")
    parser.add_argument("--into", type=Path, help="the folder for table and plot (benchmarks/results)")
    options = parser.parse_args()
    rounds, jobs, latency_jobs, into = (2, 4000, 100, None) if options.quick else (5, 20_000, 250, _report.RESULTS)
    options.rounds, options.jobs = options.rounds or rounds, options.jobs or jobs
    options.latency_jobs, options.into = options.latency_jobs or latency_jobs, options.into or into
    return options


def _usable(names: Sequence[str]) -> tuple[list[System], list[str]]:
    """The systems of those names that can run here, and why the others can't."""
    systems, missing = [], []
    for system in (each for each in all_systems() if each.name in names):
        if system.environment == OURS and "--threads" in system.usual.command and not _knows_threads():
            missing.append(f"{system.name}: this worker has no --threads")
        elif not _environments.available(system.environment):
            missing.append(f"{system.name}: needs node and npm")
        else:
            systems.append(system)
    return systems, missing


def _knows_threads() -> bool:
    done = subprocess.run([sys.executable, "worker.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    return "--threads" in done.stdout


def _bench(system: System, running: Broker, env_dir: Path, folder: Path) -> Bench:
    own = folder / system.name
    own.mkdir()
    place = own if system.environment == OURS else _environments.prepare(system.environment, env_dir)
    return Bench(system, running, place, own)


def _measured(bench: Bench, measure: str, jobs: int, latency_jobs: int) -> Figures:
    own = max(20, round(jobs * bench.system.share))
    calls: Mapping[str, Callable[[], Figures]] = {
        "throughput": lambda: bench.throughput(own),
        "latency": lambda: bench.latency(latency_jobs),
        "sockets": bench.sockets,
        "memory": bench.memory,
        "enqueue": lambda: bench.enqueue(max(20, jobs // 5)),
    }
    return calls[measure]()


def _ratio(values: Sequence[float], stock: Sequence[float]) -> float | str:
    pairs = list(zip(values, stock, strict=False))
    return _rounded(median(ours / theirs for ours, theirs in pairs), 1) if pairs else ""


def _rounded(value: float, digits: int) -> float:
    return round(value, digits) if digits else round(value)


if __name__ == "__main__":
    sys.exit(main())
