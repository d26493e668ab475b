"""A Redis whose wall clock can be put forward and back while it runs."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from tests.conftest import RedisServer

SOURCE = Path(__file__).with_suffix(".c")


class SteppedRedis(RedisServer):
    """A Redis of our own with a clock of its own. Skips where there is no C compiler; in CI that fails."""

    def __init__(self, folder: Path) -> None:
        self._step, self._library = folder / "step", _library(folder)
        self.put_off(timedelta(0))
        super().__init__(folder)

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as environ:
            environ.setenv("LD_PRELOAD", str(self._library))
            environ.setenv("CLOCK_STEP", str(self._step))
            super().start()

    def put_off(self, by: timedelta) -> None:
        """From now on its clock shows this much more than that of the host."""
        seconds = struct.pack("l", int(by.total_seconds()))
        with self._step.open("r+b" if self._step.exists() else "wb") as file:
            file.write(seconds)


def _library(folder: Path) -> Path:
    library, compiler = folder / "stepped_clock.so", shutil.which("cc")
    if compiler is None:
        reason = "no C compiler for a clock that can be put off: install gcc"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
    return library
