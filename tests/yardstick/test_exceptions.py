"""Every exception from RQ's own tests has a reason that the documentation explains; RQ's tests run with --slow."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.yardstick import exceptions


def test_each_reason_is_explained() -> None:
    page = (ROOT / "docs/rq-compatibility.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^### (\S+)$", page, re.M))
    assert set(exceptions.known()) - explained == set()
    names = [name for tests in exceptions.known().values() for name in tests]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_rqs_own_worker_tests_pass_but_for_the_exceptions() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.yardstick"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 2:
        pytest.skip("RQ's source distribution can't be downloaded")
    assert done.returncode == 0, done.stdout[-5000:]
