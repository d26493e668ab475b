"""Numbers of one scope: runs by how they ended, and how long they waited and ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

LAST_BUCKET = 23
"""Bucket n holds what took less than 2 ** n ms and no less than half of that; the last one, everything above."""
ENDS = ("finished", "failed", "cancelled", "stopped", "retry", "released", "lost", "quarantined")
LEVELS = ("waiting", "parked", "active", "delayed", "oldest")
"""`waiting` includes `parked`; `oldest` is in seconds."""


@dataclass(frozen=True)
class Histogram:
    """Durations by bucket, and their sum in seconds."""

    buckets: Mapping[int, int] = field(default_factory=dict)
    sum: float = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.buckets.values())

    @property
    def mean(self) -> float | None:
        """Their mean in seconds; None without any."""
        return self.sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """About how many seconds at most that share (0 to 1) of them took; None without any.

        Within a bucket they are taken to lie evenly, as Prometheus' histogram_quantile does.
        """
        wanted, seen = share * self.count, 0
        for bucket in sorted(self.buckets):
            inside = self.buckets[bucket]
            if inside and seen + inside >= wanted:
                lower, upper = limits(bucket)
                return lower + (upper - lower) * max(0.0, wanted - seen) / inside
            seen += inside
        return None

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """For each bound in seconds but the last how many took no longer, as Prometheus counts."""
        seen = 0
        for bucket in range(LAST_BUCKET):
            seen += self.buckets.get(bucket, 0)
            yield limits(bucket)[1], seen


@dataclass(frozen=True)
class Values:
    """One scope's numbers within a step, or in all."""

    ends: Mapping[str, int] = field(default_factory=dict)
    run: Histogram = field(default_factory=Histogram)
    wait: Histogram = field(default_factory=Histogram)
    levels: Mapping[str, int] = field(default_factory=dict)

    @property
    def failure_rate(self) -> float | None:
        """The share of failed runs, retried ones too, among those that finished or failed; None without any."""
        failed = self.ends.get("failed", 0) + self.ends.get("retry", 0)
        ended = failed + self.ends.get("finished", 0)
        return failed / ended if ended else None


def bucket_of(seconds: float) -> int:
    """The bucket of a duration."""
    return min(int(seconds * 1000).bit_length(), LAST_BUCKET) if seconds > 0 else 0


def limits(bucket: int) -> tuple[float, float]:
    """A bucket's bounds in seconds; the last one is taken to be as wide as the one before."""
    return (2 ** (bucket - 1) / 1000 if bucket else 0.0), 2**bucket / 1000


def of_fields(fields: Mapping[str, int]) -> Values:
    """The values of one scope from what is counted: ends, levels, `run` and `wait` in ms, buckets `r3` and `w3`."""
    return Values(
        ends={name: number for name in ENDS if (number := fields.get(name, 0))},
        run=_histogram(fields, "r", "run"),
        wait=_histogram(fields, "w", "wait"),
        levels={name: fields[name] for name in LEVELS if name in fields},
    )


def _histogram(fields: Mapping[str, int], letter: str, total: str) -> Histogram:
    buckets = {n: number for n in range(LAST_BUCKET + 1) if (number := fields.get(f"{letter}{n}", 0))}
    return Histogram(buckets, fields.get(total, 0) / 1000)
