"""Starting and stopping processes: in order, cleanly, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from deploy.launcher.processes import Process, Processes
from tests.conftest import ROOT, wait_until

WITH_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
SAYS_WHEN_IT_ENDS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(os.write(1, b"%d\\n" % time.monotonic_ns()) and None))
os.write(1, b"up\\n")  # a handler that prints may meet a print that has not returned, which Python refuses
while True:
    signal.pause()
"""
A_LAUNCHER_THAT_IS_KILLED = """
import sys
from pathlib import Path
from deploy.launcher.processes import Process
process = Process("web", [sys.executable, "-c", "import time; time.sleep(600)"], log=Path(sys.argv[1]))
process.start()
print(process._popen.pid, flush=True)
input()
"""

A_LAUNCHER_THAT_IS_STOPPED_AS_IT_FORKS = """
import logging, os, signal, sys, threading
from pathlib import Path
from deploy.launcher import signals
from deploy.launcher.errors import Interrupted
from deploy.launcher.processes import Process
says_what_it_does = "import signal; print(signal.getsignal(signal.SIGTERM).name)"
process = Process("web", [sys.executable, "-c", says_what_it_does], log=Path(sys.argv[1]))
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGTERM))
with signals.interruptible():
    try:
        process.start()
    except Interrupted:
        print("interrupted", process.wait(), process.last_lines(), flush=True)
using = threading.Thread(target=logging.getLogger, args=["that nobody has asked for yet"], daemon=True)
using.start()
using.join(10)
print("logging hangs" if using.is_alive() else "logging works", flush=True)
"""

Start = Callable[..., Process]


@pytest.fixture
def begin(tmp_path: Path) -> Start:
    def start(name: str, code: str, **options: Callable[[str, str], None]) -> Process:
        return Process(name, [sys.executable, "-c", code], log=tmp_path / f"{name}.log", **options)

    return start


def test_processes_stop_in_the_order_that_loses_no_work(begin: Start) -> None:
    processes = Processes()
    names = ["redis", "web", "worker", "scheduler"]
    started = [begin(name, SAYS_WHEN_IT_ENDS) for name in names]
    for process in started:
        processes.start(process)
        wait_until(lambda process=process: process.last_lines() == "up")
    processes.stop()
    ended = {process.name: int(process.last_lines().split()[-1]) for process in started}
    assert sorted(names, key=lambda name: ended[name]) == ["scheduler", "web", "worker", "redis"]
    assert [process.returncode for process in started] == [0, 0, 0, 0]


def test_what_a_process_started_itself_does_not_outlive_it(begin: Start) -> None:
    process = begin("web", WITH_A_CHILD)
    process.start()
    wait_until(process.last_lines)
    grandchild = int(process.last_lines())
    process.stop()
    wait_until(lambda: not _running(grandchild))


def test_a_process_that_ignores_the_request_is_killed_after_its_grace(begin: Start) -> None:
    process = begin(
        "web", "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    process.start()
    wait_until(process.last_lines)
    process.stop(timedelta(milliseconds=50))
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_ends_by_itself_is_noticed_with_its_last_words(begin: Start) -> None:
    processes = Processes()
    process = begin("worker", "import sys; print('out of paper'); sys.exit(3)")
    processes.start(process)
    process.wait()
    assert list(processes) == [process]
    assert (process.returncode, process.last_lines()) == (3, "out of paper")
    processes.stop()


def test_the_last_words_leave_tracebacks_to_the_log(begin: Start) -> None:
    process = begin("worker", "print('all was well', flush=True); 1 / 0")
    process.start()
    process.wait()
    assert process.last_words() == "all was well\nZeroDivisionError: division by zero"
    assert "Traceback" in process.last_lines()


def test_all_output_is_passed_on_by_line_and_kept_in_the_log(begin: Start, tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    process = begin("web", "print('one'); print('two')", on_line=lambda *line: lines.append(line))
    process.start()
    process.wait()
    assert lines == [("web", "one"), ("web", "two")]
    assert (tmp_path / "web.log").read_text() == "one\ntwo\n"


def test_hurrying_ends_everything_but_redis_at_once(begin: Start) -> None:
    processes = Processes()
    redis, web = begin("redis", SAYS_WHEN_IT_ENDS), begin("web", "import time; time.sleep(600)")
    processes.start(redis)
    processes.start(web)
    wait_until(redis.last_lines)
    stopping = threading.Thread(target=processes.stop)
    processes.hurry()
    stopping.start()
    stopping.join(30)
    assert (web.returncode, redis.returncode) == (-signal.SIGKILL, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent was killed")
def test_a_launcher_that_is_killed_outright_leaves_no_orphans(tmp_path: Path) -> None:
    command = [sys.executable, "-c", A_LAUNCHER_THAT_IS_KILLED, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        child = int(launcher.stdout.readline())
        assert _running(child)
        os.kill(launcher.pid, signal.SIGKILL)
    wait_until(lambda: not _running(child))


def _running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_signal_amid_the_start_of_a_process_waits_until_it_is_started_and_does_not_deafen_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", A_LAUNCHER_THAT_IS_STOPPED_AS_IT_FORKS, str(tmp_path / "log")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.stdout.splitlines(), ended.stderr) == (["interrupted 0 SIG_DFL", "logging works"], "")
