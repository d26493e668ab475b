"""A rolling restart of three workers under load loses and repeats nothing that finished."""

from __future__ import annotations

import pytest

from tests.chaos import journal
from tests.chaos.stage import Stage

WORKERS = 3


@pytest.mark.parametrize("grace", ["15", "0.3"], ids=["patient", "hasty"])
def test_a_rolling_restart_repeats_nothing_that_finished(stage: Stage, grace: str) -> None:
    old = stage.herd.start(WORKERS, SHUTDOWN_GRACE=grace)
    stage.herd.until_ready(WORKERS)
    with stage.load():
        stage.until_busy()
        for worker in old:
            stage.herd.start(SHUTDOWN_GRACE=grace)
            stage.herd.terminate(worker)
            assert worker.process.wait(30) == 0
            stage.until_busy()
        stage.until_all_resume(20)
    stage.judge()
    cut_short = [run for run in journal.read(stage.journal) if run.ended is None]
    assert grace == "0.3" or cut_short == []
