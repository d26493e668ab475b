"""One launcher a data folder: a lock that the kernel takes back when its last holder is gone."""

from __future__ import annotations

import fcntl
import os
import time
from datetime import timedelta
from pathlib import Path

from deploy.launcher.errors import CannotStart

PATIENCE = timedelta(seconds=3)


class Instance:
    """The right to use the data folder. The embedded Redis inherits `descriptor`, so it holds the lock too."""

    def __init__(self, data: Path) -> None:
        """Take the lock. Raises CannotStart when another bin/run, or a Redis it left behind, still uses the folder."""
        self.descriptor = self._open(data)
        give_up = time.monotonic() + PATIENCE.total_seconds()
        while not self._locked():
            if time.monotonic() > give_up:
                raise CannotStart(self._explain(data))
            time.sleep(0.1)
        os.truncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Give the folder back."""
        os.close(self.descriptor)

    def _open(self, data: Path) -> int:
        try:
            data.mkdir(parents=True, exist_ok=True)
            return os.open(data / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                f"The data folder {data} can't be written: {error.strerror}.\n"
                "Give it another one: bin/run --data ANOTHER-FOLDER"
            ) from None

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _explain(self, data: Path) -> str:
        pid = os.pread(self.descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        return (
            f"Another bin/run (process {pid}) uses {data}.\n"
            "Stop it first, or give this one a folder of its own: bin/run --data ANOTHER-FOLDER"
        )
