"""What several web processes count, in files: added up for a scrape, and that of ended processes kept in one file.

prometheus_client has each process write files of its own and adds up all that there ever were, so that a scrape takes
longer with each process that was replaced. Here one file a kind holds the counts of all that ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import structlog
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.utils import floatToGoString

COUNTS = ("counter", "summary", "histogram")
LEVELS = ("gauge_livesum",)
ENDED = "ended"
PATIENCE = 0.2  # seconds in which gunicorn's master, which has more to do, tries to be alone with the files
BREATH = 0.01  # seconds
log = structlog.get_logger("metrics")
MOST_SERIES = 50_000  # whose names are remembered


class Series(NamedTuple):
    """What a key of the files says: a family, a sample's name in it, its labels and what the family is about."""

    family: str
    name: str
    labels: tuple[tuple[str, str], ...]
    text: str


def added_up(folder: Path) -> list[Metric]:
    """The sums of what all processes counted since the server started, and of the gauges of those that live.

    Waits the few milliseconds that a merge takes. Raises OSError for files that can't be read.
    """
    with _alone(folder, fcntl.LOCK_SH):
        sums = {kind: _sums(folder.glob(f"{kind}_*.db")) for kind in (*COUNTS, *LEVELS)}
    return [metric for kind, found in sums.items() for metric in _metrics(kind.partition("_")[0], found)]


def keep_ended(folder: Path) -> bool:
    """Move what ended processes counted into one file a kind, and forget their gauges; False when it must wait.

    Sums stay what they were for whoever looks, and no process that lives is touched: what could not be done now, as a
    scrape hangs, is done when the next process has ended.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(BlockingIOError), _alone(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for kind in COUNTS:
                _merge(folder, kind)
            for file in folder.glob("gauge_*.db"):
                if _has_ended(file):
                    file.unlink()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(BREATH)


@contextmanager
def _alone(folder: Path, how: int) -> Iterator[None]:
    """With others that read, or with nobody. Raises BlockingIOError where it shall not wait and would have to."""
    with (folder / "lock").open("ab") as file:
        fcntl.flock(file, how)
        yield


def _sums(files: Iterable[Path]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for file in files:
        if not file.stat().st_size:  # its process has only begun it, or was killed then
            continue
        for key, value in _values(file):
            sums[key] = sums.get(key, 0.0) + value
    return sums


def _values(file: Path) -> list[tuple[str, float]]:
    """What a process has counted; nothing of a file that is broken, so that the others' counts can be told."""
    try:
        found = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, _, _ in found]
    except (struct.error, RuntimeError, ValueError):
        log.warning("a file of counts is broken", file=file.name)
        return []


def _merge(folder: Path, kind: str) -> None:
    files = [file for file in folder.glob(f"{kind}_*.db") if _has_ended(file)]
    if not files:
        return
    kept, new = folder / f"{kind}_{ENDED}.db", folder / f"{kind}_{ENDED}.new"
    sums = _sums([*([kept] if kept.exists() else []), *files])
    new.unlink(missing_ok=True)
    written = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, value in sums.items():
        written.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    written.close()  # type: ignore[no-untyped-call]
    new.replace(kept)
    for file in files:
        file.unlink()


def _has_ended(file: Path) -> bool:
    process = file.stem.rpartition("_")[2]
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's: the number is in use again
        pass
    return False


def _metrics(kind: str, sums: Mapping[str, float]) -> Iterable[Metric]:
    families: dict[str, Metric] = {}
    buckets: dict[Series, dict[float, float]] = {}
    for key, value in sums.items():
        series = _series(key)
        family = families.setdefault(series.family, Metric(series.family, series.text, kind))
        if kind == "histogram" and series.name.endswith("_bucket"):
            (bound,) = (float(text) for label, text in series.labels if label == "le")
            without = tuple(pair for pair in series.labels if pair[0] != "le")
            buckets.setdefault(series._replace(labels=without), {})[bound] = value
        else:
            family.add_sample(series.name, dict(series.labels), value)
    for series, found in buckets.items():
        _cumulate(families[series.family], series, found)
    return families.values()


def _cumulate(family: Metric, series: Series, buckets: Mapping[float, float]) -> None:
    """The files hold each bucket alone; what is exposed holds all below it, too."""
    labels, total = dict(series.labels), 0.0
    for bound in sorted(buckets):
        total += buckets[bound]
        family.add_sample(series.name, labels | {"le": floatToGoString(bound)}, total)  # type: ignore[no-untyped-call]
    family.add_sample(f"{series.family}_count", labels, total)


@lru_cache(MOST_SERIES)
def _series(key: str) -> Series:
    family, name, labels, text = json.loads(key)
    return Series(family, name, tuple(sorted(labels.items())), text)
