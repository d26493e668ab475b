"""What each safety of the worker costs a job: lease, fence, events, signature, validation, log line, records.

Redis' share is counted: MONITOR says which commands a job needs for what, the server's own statistics what each takes.
The worker's share is timed part by part on a real envelope. Beside both stands a run without the part, which is
coarser: a small part drowns in what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import _commands, _report
from benchmarks._bench import Bench, Figures
from benchmarks._broker import broker
from benchmarks._systems import fleet
from benchmarks._without import PARTS
from benchmarks.fleet_jobs import Number
from jobs.engine import Context, connect, envelope, logs, payloads
from jobs.engine.middleware.caller import Caller
from jobs.engine.outcome import Outcome
from jobs.engine.worker.run_log import RunLog
from jobs.engine.worker.running import FIRST_CALLBACK_TIME, Running
from jobs.engine.worker.settlements import Settlement
from jobs.engine.worker.settling import EndedRun
from jobs.settings import Settings

TIMES, TOGETHER = 5000, 100
WHOLE = "everything"
SILENT = "log line of the worker"


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--redis-server")
    parser.add_argument("--quick", action="store_true", help="one round of 2,000 jobs; keeps nothing")
    options = parser.parse_args()
    rounds, jobs = (1, 2000) if options.quick else (options.rounds, options.jobs)
    with broker(options.redis_server) as running, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(fleet("fleet", "FleetWorker"), running, Path(folder), Path(folder))
        counted, whole = count(bench, jobs)
        rows = table(counted, timed(Settings.from_env({})), ablated(bench, rounds, jobs), whole)
        title = "What each part of a no-op job costs, in microseconds of processor time"
        _report.show(title, rows, rounds=rounds, jobs=jobs)
        if not options.quick:
            _report.keep("costs", title, rows, running.client, rounds=rounds, jobs=jobs)


def count(bench: Bench, jobs: int) -> tuple[dict[str, tuple[float, float]], Figures]:
    """Calls and microseconds of Redis a job by purpose, and the figures of the run that was timed.

    Redis times its commands by the clock on the wall: where others interrupted it, the times are scaled down to the
    processor time that it used.
    """
    watched = max(200, jobs // 10)
    seen = _watched(bench, watched)
    whole = bench.throughput(jobs)
    each, cpu = _commands.cost(bench.broker.client), whole["Redis µs/job"]
    inside = _commands.inside_scripts(bench.broker.client) / jobs
    real = min(1.0, cpu / inside)
    calls: Counter[str] = Counter()
    micros: defaultdict[str, float] = defaultdict(float)
    for (name, command), number in seen.inside.items():
        calls[name] += number
        micros[name] += real * number * each.get(command, 0.0) / watched
    found = {name: (calls[name] / watched, micros[name]) for name in calls}
    found["the scripts themselves (Lua)"] = (0.0, max(0.0, real * inside - sum(micros.values())))
    found["network and what is not in scripts"] = (0.0, max(0.0, cpu - real * inside))  # not less by rounding
    return found, whole


def timed(settings: Settings) -> dict[str, float]:
    """Microseconds of the worker a job for the parts that run there, on a real envelope of the benchmark's job."""
    keys, job_id = connect(settings).keys, "0" * 32
    data = keys.seal("bench.touch", "").data(job_id, payloads.dump(Number(number=12_345), None), "")
    arguments = envelope.decode(data).args
    caller, context = Caller(settings), _context(settings)
    logs.configure(settings, "benchmark")
    return {
        "reading the envelope": _micros(lambda: envelope.decode(data)),
        "signature": _micros(lambda: keys.verify(job_id, *arguments)),
        "validation": _micros(lambda: payloads.load(Number, arguments[1], None)),
        "log fields of the job": _micros(lambda: caller.around_run(_nothing, None, context)),
        SILENT: _log_line(job_id),
    }


def ablated(bench: Bench, rounds: int, jobs: int) -> dict[str, Figures]:
    """What a run without the part saves, the median over the rounds."""
    variants: dict[str, Mapping[str, str]] = {WHOLE: {}, SILENT: {"LOG_LEVEL": "WARNING"}}
    modules = "benchmarks.fleet_jobs,benchmarks._without"
    variants |= {part: {"BENCH_WITHOUT": part, "JOB_MODULES": modules} for part in PARTS}
    runs: defaultdict[str, list[Figures]] = defaultdict(list)
    for number in range(rounds):
        for name, variables in variants.items():
            print(f"round {number + 1}/{rounds}: {name}", file=sys.stderr, flush=True)
            runs[name].append(replace(bench, variables=variables).throughput(jobs))
    return {
        name: {side: _difference(runs[WHOLE], runs[name], side) for side in ("worker µs/job", "Redis µs/job")}
        for name in variants
        if name != WHOLE
    }


def table(
    counted: Mapping[str, tuple[float, float]],
    child: Mapping[str, float],
    without: Mapping[str, Figures],
    whole: Figures,
) -> list[dict[str, Any]]:
    """A row a part, the dearest first, and the whole."""
    names = sorted({*counted, *child, *without}, key=lambda name: -(counted.get(name, (0, 0))[1] + child.get(name, 0)))
    rows = [
        {
            "part": name,
            "Redis calls": round(counted[name][0], 2) if name in counted else "",
            "Redis µs": round(counted[name][1], 1) if name in counted else "",
            "worker µs": round(child[name], 1) if name in child else "",
            "without it: worker µs": round(without[name]["worker µs/job"], 1) if name in without else "",
            "without it: Redis µs": round(without[name]["Redis µs/job"], 1) if name in without else "",
        }
        for name in names
    ]
    total = {
        "part": "a whole job",
        "Redis calls": round(sum(calls for calls, _ in counted.values()), 2),
        "Redis µs": round(whole["Redis µs/job"], 1),
        "worker µs": round(whole["worker µs/job"], 1),
        "without it: worker µs": "",
        "without it: Redis µs": "",
    }
    return [*rows, total]


def _watched(bench: Bench, jobs: int) -> _commands.Seen:
    port = int(bench.broker.client.connection_pool.connection_kwargs["port"])
    bench.fill("touch", jobs)
    with _commands.watching(port) as seen, bench.worker(bench.system.usual) as tree:
        bench.until_finished(tree, jobs)
    bench.checked(jobs)
    return seen


def _difference(whole: Sequence[Figures], without: Sequence[Figures], side: str) -> float:
    pairs = zip(whole, without, strict=True)
    return median(ours[side] - theirs[side] for ours, theirs in pairs)


def _micros(call: Callable[[], Any], times: int = TIMES) -> float:
    """The least of five means: what disturbs a measurement only adds to it."""
    return min(_mean(call, times) for _ in range(5))


def _mean(call: Callable[[], Any], times: int) -> float:
    begun = time.process_time_ns()
    for _ in range(times):
        call()
    return (time.process_time_ns() - begun) / times / 1000


class _Silent:
    """Nobody listens, and nobody cancels."""

    def report(self, kind: str, value: dict[str, Any]) -> None: ...

    def cancelled(self) -> bool:
        return False

    def stopping(self) -> bool:
        return False


def _log_line(job_id: str) -> float:
    """The line that tells of a run's end, and its count, among so many as end together."""
    run = Running(job_id, "0" * 24, "default", "default", [None] * FIRST_CALLBACK_TIME)
    ended = [EndedRun(run, Outcome("finished", "1"), 1.0, 1.001, Settlement("", ()), False)] * TOGETHER
    log, words = RunLog(Settings.from_env({"LOG_FORMAT": "json"}), "benchmark"), ["ok"] * TOGETHER
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        return _micros(lambda: log.write(ended, words), TIMES // TOGETHER) / TOGETHER


def _nothing(payload: Any, context: Context) -> None:
    """A job that does nothing."""


def _context(settings: Settings) -> Context:
    return Context(
        job_id="0" * 32,
        execution_id="0" * 32,
        job_type="bench.touch",
        attempt=1,
        max_retries=0,
        tenant="",
        correlation_id="",
        settings=settings,
        reporter=_Silent(),
    )


if __name__ == "__main__":
    main()
