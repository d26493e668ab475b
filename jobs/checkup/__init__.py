"""`python worker.py --check`: look at every part that the environment names, and say what to do about what is wrong."""

from __future__ import annotations

import sys
from functools import partial
from typing import TextIO

from jobs.checkup import broker, data, job_types, system, trust
from jobs.checkup.findings import Finding, within
from jobs.settings import Settings

__all__ = ["Finding", "examine", "run"]

PARTS = {
    "Redis": (broker.examine, "Start it, or let REDIS_URL name one that runs."),
    "database": (data.examine_database, "Look at DATABASE_URL, and whether that server runs."),
    "storage": (data.examine_storage, "Look at STORAGE_URL and its credentials."),
    "job types": (job_types.examine, "Mend the file or the variable that it names."),
    "signatures": (trust.examine, "Look at Redis first."),
    "processes": (broker.examine_workforce, "Look at Redis first."),
    "system": (system.examine, ""),
}

NEED_REDIS = (broker.examine, broker.examine_workforce, trust.examine)


def run(settings: Settings, out: TextIO | None = None) -> int:
    """Print what was found, a line each and what to do below it; 1 when something keeps the fleet from working."""
    out, findings = out or sys.stdout, examine(settings)
    for each in findings:
        out.write(f"{each.level:8} {each.part}: {each.text}\n")
        if each.advice:
            out.write(f"{'':8} -> {each.advice}\n")
    problems = sum(each.level == "problem" for each in findings)
    out.write(f"\n{problems} problem{'s' if problems > 1 else ''} found.\n" if problems else "\nAll is well.\n")
    return 1 if problems else 0


def examine(settings: Settings) -> list[Finding]:
    """Look at every part that is used; one that does not answer within ten seconds is a problem too."""
    found: list[Finding] = []
    for part, (look, advice) in PARTS.items():
        if not settings.use_job_queue and look in NEED_REDIS:
            continue
        found += within(part, partial(look, settings), advice)
    return found
