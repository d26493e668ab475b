"""The log outside Redis that jobs write to: a line when a run begins and one when it ends, appended in one write."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of a job as its own process saw it; times are monotonic seconds, which all processes of a host share."""

    id: str
    attempt: int
    token: str
    pid: int
    template: int
    began: float
    ended: float | None = None
    how: str = ""


def begin(path: str, job_id: str, attempt: int, token: str) -> None:
    """`S id attempt token pid template time`: a run begins."""
    _append(path, f"S {job_id} {attempt} {token} {os.getpid()} {os.getppid()} {time.monotonic():.6f}")


def end(path: str, job_id: str, attempt: int, token: str, how: str) -> None:
    """`E id attempt token how time`: the body of a run ends; `how` is `done` or `raised`."""
    _append(path, f"E {job_id} {attempt} {token} {how} {time.monotonic():.6f}")


def read(path: Path) -> list[Run]:
    """All runs in the order in which they began. Raises ValueError for an end without a beginning."""
    runs: dict[tuple[str, str], Run] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        word, job_id, attempt, token, *rest = line.split()
        if word == "S":
            pid, template, at = rest
            runs[job_id, token] = Run(job_id, int(attempt), token, int(pid), int(template), float(at))
        elif (job_id, token) in runs:
            how, at = rest
            runs[job_id, token] = replace(runs[job_id, token], ended=float(at), how=how)
        else:
            raise ValueError(f"ended and never began: {line}")
    return sorted(runs.values(), key=lambda run: run.began)


def _append(path: str, line: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
