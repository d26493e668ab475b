"""The tests of RQ that FleetWorker is known not to pass, by reason, and what a run says beyond them."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KNOWN = Path(__file__).parent / "exceptions.toml"
Found = Mapping[str, Mapping[str, Any]]


def known() -> dict[str, list[str]]:
    """{reason: ids of tests}; each reason is a heading's anchor in docs/rq-compatibility.md."""
    with KNOWN.open("rb") as file:
        return {reason: list(each["tests"]) for reason, each in tomllib.load(file).items()}


def summary(found: Found) -> str:
    """The counts of a run."""
    ended = Counter(each["outcome"] for each in found.values())
    with_worker = sum(1 for each in found.values() if each["worked"] and each["outcome"] == "passed")
    reasons = {name: reason for reason, names in known().items() for name in names}
    failed = Counter(reasons.get(name, "unknown") for name, each in found.items() if each["outcome"] == "failed")
    lines = [
        f"run {len(found)}, passed {ended['passed']} (in {with_worker} of them a worker worked), "
        f"failed {ended['failed']}, skipped {ended['skipped']}",
        *(f"  {count:3} {reason}" for reason, count in failed.most_common()),
    ]
    return "\n".join(lines)


def compare(found: Found, *, complete: bool, slow: bool) -> list[str]:
    """A line for each test that failed without being known, and (of a whole run) each known one that did not fail."""
    expected = {name for names in known().values() for name in names}
    failed = {name for name, each in found.items() if each["outcome"] == "failed"}
    problems = [f"FAILED {name}\n       {found[name]['why']}" for name in sorted(failed - expected)]
    passed = sorted(name for name in expected & found.keys() if found[name]["outcome"] == "passed")
    problems += [f"PASSES {name}: take it off the list of exceptions" for name in passed]
    if complete and slow:
        problems += [f"GONE   {name}" for name in sorted(expected - found.keys())]
    return problems
