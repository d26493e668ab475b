"""The oracle itself: it passes what may happen and names what must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import journal, oracle
from tests.chaos.journal import Run
from tests.chaos.oracle import Call, Fault, Final, History

FIRST = Run("a", 1, "t1", pid=11, template=10, began=1.0, ended=2.0, how="done")
KILLED = replace(FIRST, ended=None, how="")
SECOND = Run("a", 1, "t2", pid=21, template=20, began=5.0, ended=6.0, how="done")
KILL = Fault("kill", 1.5, 1.5, pid=11)
STOP = Fault("stop", 1.5, 9.0, template=10, separates=True)
OUTAGE = Fault("outage", 1.5, 3.0, repeats=False)
FAILOVER = Fault("failover", 1.5, 3.0, forgets=True)
DONE = Final("a", "completed", 1, 3, 3, "t1", ("finished",), ("job:queued", "job:started", "job:completed"))
BY_SECOND = replace(DONE, settled="t2")
ASKED = Call("a", "ok", 0.5)


def history(*runs: Run, final: Final | None = DONE, faults: tuple[Fault, ...] = (), call: Call = ASKED) -> History:
    return History([call], runs, {final.id: final} if final else {}, faults)


RETRIED = replace(DONE, attempts=2, retries_left=2, settled="t2", outcomes=("retried", "finished"))
FAILED = Final("a", "failed", 1, 0, 0, "t1", ("failed",))
PLAIN = replace(DONE, max_retries=None, retries_left=None)
ASKED_TWO = replace(ASKED, fails=1, retries=2)
PLAIN_RETRIED = replace(PLAIN, retries_left=1, outcomes=("retried", "finished"), settled="t2", events=None)
MAY_BE = {
    "one run": history(FIRST),
    "still queued": history(final=Final("a", "queued")),
    "killed and run again": history(KILLED, SECOND, final=BY_SECOND, faults=(KILL,)),
    "begun while its worker was dying": history(
        replace(KILLED, began=1.6), SECOND, final=BY_SECOND, faults=(replace(KILL, pid=0, template=10),)
    ),
    "outcome lost with its worker": history(FIRST, SECOND, final=BY_SECOND, faults=(replace(KILL, at=2.1, until=2.1),)),
    "two runs of a stopped worker's job": history(replace(FIRST, ended=10.0), SECOND, final=BY_SECOND, faults=(STOP,)),
    "begun by a worker that woke up too late": history(
        replace(FIRST, began=8.0, ended=8.1), SECOND, final=BY_SECOND, faults=(STOP,)
    ),
    "retried": history(replace(FIRST, how="raised"), replace(SECOND, attempt=2), final=RETRIED),
    "failed as it should": history(replace(FIRST, how="raised"), final=FAILED, call=replace(ASKED, fails=9)),
    "a plain client's job retried": history(replace(FIRST, how="raised"), SECOND, final=PLAIN_RETRIED, call=ASKED_TWO),
    "a plain client's job failed for good": history(
        replace(FIRST, how="raised"),
        final=replace(FAILED, max_retries=None, retries_left=0),
        call=replace(ASKED, fails=9, retries=0),
    ),
    "unknown and not there": history(final=None, call=replace(ASKED, word="unknown")),
    "unknown and there": history(FIRST, call=replace(ASKED, word="unknown")),
    "forgotten by a failover": history(final=None, call=replace(ASKED, at=1.0), faults=(FAILOVER,)),
    "retried, and forgotten by a failover": history(
        replace(FIRST, began=1.0, ended=1.1, how="raised"),
        replace(SECOND, began=1.2, ended=1.3, how="raised"),
        replace(SECOND, token="t3", began=1.4, ended=1.45),
        final=None,
        call=replace(ASKED, at=1.0),
        faults=(FAILOVER,),
    ),
    "its outcome forgotten by a failover": history(FIRST, SECOND, final=BY_SECOND, faults=(FAILOVER,)),
}
THRICE = tuple(Fault("kill", 1.5, 1.5, pid=pid) for pid in (11, 11, 11))
MUST_NOT = {
    "gone": history(final=None),
    "stuck": history(KILLED, final=Final("a", "started")),
    "failed for no reason": history(replace(FIRST, how="raised"), final=FAILED),
    "innocent": history(KILLED, final=Final("a", "quarantined"), faults=(KILL,)),
    "refused, and there": history(FIRST, call=replace(ASKED, word="fail")),
    "accepted long before a failover, and gone": history(
        final=None, faults=(replace(FAILOVER, at=60.0, until=61.0),)
    ),
    "twice without a fault": history(FIRST, SECOND, final=BY_SECOND),
    "twice by an outage": history(FIRST, SECOND, final=BY_SECOND, faults=(OUTAGE,)),
    "a fault of another worker": history(FIRST, SECOND, final=BY_SECOND, faults=(Fault("kill", 1.5, 1.5, pid=77),)),
    "a fault long after its end": history(FIRST, replace(SECOND, began=99.0, ended=99.5), final=BY_SECOND,
                                          faults=(Fault("kill", 90.0, 90.0, pid=11),)),
    "side by side": history(replace(FIRST, ended=5.5), SECOND, final=BY_SECOND, faults=(replace(KILL, at=5.6),)),
    "side by side before it was stopped": history(
        replace(FIRST, ended=8.0), SECOND, final=BY_SECOND, faults=(replace(STOP, at=7.0),)
    ),
    "a third time": history(KILLED, SECOND, replace(SECOND, token="t3", began=7.0, ended=8.0),
                            final=replace(DONE, settled="t3"), faults=(KILL,)),
    "finished by a run that was killed": history(KILLED, SECOND, faults=(KILL,)),
    "again after its outcome": history(FIRST, SECOND, faults=(replace(KILL, at=2.1, until=2.1),)),
    "two outcomes": history(FIRST, final=replace(DONE, attempts=2, outcomes=("finished", "finished"))),
    "no outcome": history(FIRST, final=replace(DONE, attempts=0, outcomes=())),
    "told twice": history(FIRST, final=replace(DONE, events=("job:completed", "job:completed"))),
    "going on after its end": history(FIRST, final=replace(DONE, events=("job:completed", "job:queued"))),
    "an attempt for the lost run": history(
        KILLED, SECOND, final=replace(BY_SECOND, attempts=2), faults=(KILL,)
    ),
    "a retry for the lost run": history(
        KILLED, SECOND, final=replace(BY_SECOND, retries_left=2), faults=(KILL,)
    ),
    "a plain client's retry for the lost run": history(
        KILLED, SECOND, final=replace(PLAIN, settled="t2", retries_left=1), faults=(KILL,), call=ASKED_TWO
    ),
    "a plain client's job failed before its retries": history(
        replace(FIRST, how="raised"), final=replace(FAILED, max_retries=None, retries_left=2), call=ASKED_TWO
    ),
    "a plain client's hopeless job completed": history(FIRST, final=PLAIN, call=replace(ASKED_TWO, fails=9)),
}  # fmt: skip


@pytest.mark.parametrize("name", MAY_BE)
def test_what_may_happen_passes(name: str) -> None:
    assert oracle.judge(MAY_BE[name]) == []


@pytest.mark.parametrize("name", MUST_NOT)
def test_what_must_not_happen_is_named(name: str) -> None:
    assert oracle.judge(MUST_NOT[name]) != []


@pytest.mark.parametrize("seen", [("a", "failed", "t1"), ("a", "completed", "t0"), ("b", "completed", "t9")])
def test_an_ended_job_that_changes_is_named(seen: tuple[str, str, str]) -> None:
    quiet = history(FIRST)
    assert oracle.judge(replace(quiet, seen=[("a", "completed", "t1")])) == []
    assert len(oracle.judge(replace(quiet, seen=[seen]))) == 1


def test_a_job_hit_three_times_may_be_set_aside() -> None:
    assert oracle.judge(history(KILLED, final=Final("a", "quarantined"), faults=THRICE)) == []


def test_the_delay_of_a_killed_run_counts_from_the_kill() -> None:
    assert oracle.delays(history(KILLED, SECOND, faults=(KILL,))) == [3.5]
    assert oracle.delays(history(FIRST, SECOND)) == []


def test_what_jobs_write_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for job_id in ("a", "b"):
        journal.begin(str(path), job_id, 1, f"t-{job_id}")
    journal.end(str(path), "a", 1, "t-a", "done")
    runs = journal.read(path)
    assert [(run.id, run.token, run.how, run.ended is None) for run in runs] == [
        ("a", "t-a", "done", False),
        ("b", "t-b", "", True),
    ]


def test_an_end_without_a_beginning_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal.end(str(path), "a", 1, "t", "done")
    with pytest.raises(ValueError, match="never began"):
        journal.read(path)


def test_a_story_tells_runs_and_faults_in_order() -> None:
    told = oracle.story(history(KILLED, SECOND, final=BY_SECOND, faults=(KILL, Fault("kill", 3.0, 3.0, pid=77))), "a")
    assert [line.split()[1].split("(")[0] for line in told.splitlines()[:3]] == ["began", "Fault", "began"]
