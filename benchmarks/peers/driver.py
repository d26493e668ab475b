"""The client's side of a benchmark, the same for every system: enqueue, trickle, read every result.

    python APP.py enqueue KIND COUNT one|many     {"seconds", "cpu"}: of COUNT jobs
    python APP.py trickle COUNT SECONDS           {"sent"}: when each was about to be sent, in monotonic nanoseconds
    python APP.py results                         {"right"}: how many results are there and right

An app has `one(kind, number)`, `many(kind, numbers)` (if the library can) and `results(handles)`;
each may be a coroutine, and `session()` (if there is one) is entered around them. Handles (JSON) are kept in
BENCH_HANDLES between calls. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import time
from pathlib import Path

WARM_UP = 10
"""Jobs sent at the same pace before the ones that count, once the first has begun."""
CHUNK = 1000


def main(app):
    """Do what the command line asks of `app` and print the answer as JSON."""
    command, *arguments = sys.argv[1:]
    work = {"enqueue": enqueue, "trickle": trickle, "results": results}[command]
    print(json.dumps(asyncio.run(_in_session(work, app, *arguments))))


async def enqueue(app, kind, count, how):
    """Send COUNT jobs, one by one or in bulk."""
    handles = []
    cpu, begun = time.process_time(), time.perf_counter()
    if how == "one":
        for number in range(int(count)):
            handles.append(await _finished(app.one, kind, number))
    else:
        for start in range(0, int(count), CHUNK):
            numbers = range(start, min(int(count), start + CHUNK))
            handles += await _finished(app.many, kind, numbers)
    answer = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    _handles().write_text(json.dumps(handles))
    return answer


async def trickle(app, count, every):
    """Send one job every so many seconds to an idle worker, after some that only warm it up."""
    handles = [await _finished(app.one, "touch", 0)]
    while not Path(os.environ["BENCH_MARKS"]).stat().st_size:
        await asyncio.sleep(0.01)
    sent, begun = [], time.monotonic() + 0.5
    for number in range(1, WARM_UP + int(count) + 1):
        time.sleep(max(0.0, begun + number * float(every) - time.monotonic()))
        sent.append(time.monotonic_ns())
        handles.append(await _finished(app.one, "touch", number))
    _handles().write_text(json.dumps(handles))
    return {"sent": sent[WARM_UP:]}


async def results(app):
    """Read the result of every job that was sent; it must be the job's number."""
    handles, right = json.loads(_handles().read_text()), 0
    for start in range(0, len(handles), CHUNK):
        part = handles[start : start + CHUNK]
        values = await _finished(app.results, part)
        right += sum(value == number for number, value in enumerate(values, start))
    return {"right": right}


async def gathered(function, kind, numbers):
    """Many at once for a library without a bulk call: 100 coroutines over its own connections."""
    handles = []
    for start in range(0, len(numbers), 100):
        handles += await asyncio.gather(*(function(kind, number) for number in numbers[start : start + 100]))
    return handles


async def _in_session(work, app, *arguments):
    async with getattr(app, "session", contextlib.nullcontext)():
        return await work(app, *arguments)


async def _finished(function, *arguments):
    value = function(*arguments)
    return await value if inspect.isawaitable(value) else value


def _handles():
    return Path(os.environ["BENCH_HANDLES"])
