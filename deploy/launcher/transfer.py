"""One named file on its way: uploading, waiting, being processed, ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENDED = ("completed", "failed", "cancelled", "quarantined")


@dataclass
class Transfer:
    """What is known of one file; `percent` is that of its present stage."""

    path: Path
    stage: str = "waiting"
    percent: float = 0.0
    job_id: str | None = None
    error: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    took: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.stage in ENDED

    @property
    def completed(self) -> bool:
        """Whether it can be searched now."""
        return self.stage == "completed"

    def uploading(self, sent: int, size: int) -> None:
        """`sent` of `size` bytes have left."""
        self.stage, self.percent = "uploading", 100.0 * min(sent, size) / size if size else 100.0

    def accepted(self, document: dict[str, Any]) -> None:
        """The upload's answer for this file."""
        self.job_id = document.get("job_id")
        if document.get("error") or not self.job_id:
            self.end("failed", document.get("error") or "it was not accepted")
        elif not self.ended:
            self.stage, self.percent = "queued", 0.0

    def happened(self, event: str, data: dict[str, Any]) -> None:
        """An event of its job."""
        if self.ended:
            return
        if event == "job:progress":
            self.stage, self.percent = str(data.get("stage")), float(data.get("percent") or 0)
        elif event == "job:started":
            self.stage = "started"
        elif event == "job:retrying":
            self.stage, self.error = "waiting to be tried again", _message_of(data.get("error"))
        elif event == "job:completed":
            self.end("completed")
        elif event == "job:cancelled" or (event == "job:failed" and data.get("final", True)):
            self.end(event.removeprefix("job:"), _message_of(data.get("error")))

    def seen(self, job: dict[str, Any]) -> None:
        """The job as the API shows it."""
        if job["status"] in ENDED:
            self.result = job.get("result") or {}
            self.end(job["status"], _message_of(job.get("error")))
        elif job.get("progress"):
            self.happened("job:progress", job["progress"])

    def end(self, stage: str, error: str | None = None) -> None:
        """Nothing more will happen."""
        self.stage, self.percent = stage, 100.0
        self.error = error if stage != "completed" else None
        self.took = self.took if self.took is not None else time.monotonic() - self.began


def _message_of(error: Any) -> str | None:
    return str(error.get("message")) if isinstance(error, dict) else (str(error) if error else None)
