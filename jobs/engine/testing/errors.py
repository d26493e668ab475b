"""What tests are told, and what they may raise."""

from __future__ import annotations


class JobFailed(AssertionError):
    """A job failed for good while the test said that none should; the message has its traceback."""


class StillBusy(AssertionError):
    """So many runs, and there is still something to do: jobs that enqueue one another without end?"""


class Crash(BaseException):
    """Raised in a job by a test: here its process dies. The run is lost, and the job goes back to its queue."""
