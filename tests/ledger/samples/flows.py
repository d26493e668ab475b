"""Durable steps of workflows: they tell that they ran, wait, and pass something on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from jobs.engine import Context, Payload, Permanent, Retry, job


class Step(Payload):
    """What to tell, what to wait for, and what is passed on."""

    folder: str
    name: str
    wait_for: str = ""
    fails: bool = False
    takes: Any = None


@job("durableflows.step", durable=True, retry=Retry(max_retries=0))
def step(payload: Step, context: Context) -> dict[str, Any]:
    """Tell its name, wait, and give name and input back."""
    with Path(payload.folder, "all.told").open("a") as file:
        file.write(f"{payload.name}\n")
    while payload.wait_for and not Path(payload.folder, payload.wait_for).exists():
        context.check()
        time.sleep(0.01)
    if payload.fails:
        raise Permanent(f"{payload.name} broke")
    return {"name": payload.name, "takes": payload.takes}
