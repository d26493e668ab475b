"""What an action did to each of the jobs that it was about: how it was, and how it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

UNKNOWN = "unknown"
"""How a job is that was being changed when Redis went away: it may have been or not."""


class Change(NamedTuple):
    """One job: its id, whose it is ("" for nobody's), and its state before and after."""

    id: str
    tenant: str
    before: str
    after: str


def states(changes: Iterable[Change], name: str) -> Mapping[str, int]:
    """How many jobs there are in each state; `name` is "before" or "after"."""
    return dict(sorted(Counter(getattr(each, name) for each in changes).items()))
