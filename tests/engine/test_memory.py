"""What children share with their worker: all that was loaded before them, since none of them has to write to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jobs.engine import Fleet
from jobs.engine.worker import file_pages, shared_heap
from tests.conftest import ROOT, wait_until
from tests.engine.conftest import until_told
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]
VERSIONS = ("3.11", "3.12", "3.13")
FORKED = """
import json, os, runpy, sys
shared_heap = runpy.run_path(sys.argv[1])
kept = [[str(number), {"number": float(number)}] for number in range(100_000)]
dropped = open(os.devnull)
def code(): return (lambda: 12345.6789), ("a constant that is no name", 2.5)
def own():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
shared = shared_heap["share"]()
inner, outer = code.__code__.co_consts[1:]
constants = [inner, outer, inner.co_consts[1], *outer]
reading, writing = os.pipe()
if os.fork() == 0:
    before = own()
    held = [[text, about, about["number"]] for text, about in kept]
    del held
    os.write(writing, json.dumps(own() - before).encode())
    os._exit(0)
os.close(writing)
copied = json.loads(os.read(reading, 100))
descriptor = dropped.fileno()
del dropped
counts = [sys.getrefcount(each) for each in constants]
closed = not os.path.exists(f"/proc/self/fd/{descriptor}")
print(json.dumps({"shared": shared, "constants": min(counts), "copied": copied, "closed": closed}))
"""


def interpreter(version: str) -> str:
    """A Python of that version, or skip: this one, one on the PATH, or one of pyenv's."""
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python")
    for path in (sys.executable, shutil.which(f"python{version}"), *installed):
        code = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
        if path and subprocess.run([path, "-c", code], stderr=subprocess.DEVNULL, timeout=20).returncode == 0:
            return str(path)
    pytest.skip(f"there is no Python {version} here")


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process's memory")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_fork_that_reads_what_it_inherited_copies_none_of_it(version: str) -> None:
    command = [interpreter(version), "-c", FORKED, str(Path(shared_heap.__file__))]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert found["shared"] is (version != "3.11")
    assert (found["copied"] < 8_000) is found["shared"], "kilobytes; the list that it makes takes 7,000 of them"
    assert (found["constants"] > 2**31) is found["shared"], "what code refers to, code in it included"
    assert found["closed"], "what has to be closed is, when nobody refers to it any more"


@pytest.mark.parametrize("written", ["Anonymous", "Swap", "Private_Hugetlb"])
def test_a_mapping_that_was_written_to_is_no_copy_of_its_file_wherever_its_pages_are(written: str) -> None:
    """What the kernel has written out counts as nothing but swap: to let go of it would be to lose it."""
    told = ("Rss", "Anonymous", "AnonHugePages", "Private_Hugetlb", "Swap", "SwapPss")

    def mapping(start: str, end: str, altered: str = "") -> str:
        rows = [f"{name}: {4 if name == altered else 0:8} kB" for name in told]
        return "\n".join([f"{start}-{end} r--p 00001000 fe:00 123                    /usr/lib/one.so", *rows, ""])

    mappings = mapping("7f01", "7f02") + mapping("7f02", "7f03", written) + mapping("7f03", "7f04")
    assert file_pages.untouched(mappings.splitlines()) == [(0x7F01, 0x7F02), (0x7F03, 0x7F04)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process's memory")
def test_pages_of_a_file_that_were_read_are_let_go_of_and_come_back(tmp_path: Path) -> None:
    """One that was written to in memory only stays as it is, though it may be written to no more.

    To look at a thousand mappings takes no memory that stays.
    """
    file = tmp_path / "weights"
    file.write_bytes(b"x" * 4_000_000)
    code = """
import ctypes, mmap, sys
from pathlib import Path
from jobs.engine.worker import file_pages
file = open(sys.argv[1], "rb")
read, altered = (mmap.mmap(file.fileno(), 0, access=access) for access in (mmap.ACCESS_READ, mmap.ACCESS_COPY))
altered[7] = 7
address = ctypes.addressof(ctypes.c_char.from_buffer(altered))
ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(len(altered)), mmap.PROT_READ)
many = [mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ) for _ in range(1000)]
def taken():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    values = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return values["Rss:"] - values["Anonymous:"], values["Anonymous:"]
assert read.find(b"y") == altered.find(b"y") == -1
of_files, own = taken()
file_pages.let_go()
assert taken()[0] < of_files - 3_900, (of_files, taken())
assert taken()[1] < own + 1_000, (own, taken())
assert (altered[7], read[7], read.find(b"y")) == (7, ord("x"), -1)
print("read again")
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(file)]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("read again\n", "")


@pytest.mark.parametrize("module, loads", [("tests.engine.samples.processes", False), ("jobs.domains.documents", True)])
def test_what_keeps_the_ledger_is_loaded_before_the_fork_if_jobs_are_durable(
    module: str, loads: bool, tmp_path: Path
) -> None:
    """Loaded afterwards it takes 4 MB that a worker shares with no child."""
    code = """
import sys, worker
from jobs.engine import connect
from jobs.engine.worker import template
template.fork(connect(worker.SETTINGS)).end()
print("jobs.engine.ledger.relay" in sys.modules)
"""
    environ = {**os.environ, "JOB_MODULES": module, "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.stdout == f"{loads}\n", ended


def test_a_child_at_work_has_little_memory_of_its_own(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    spawn_worker()
    samples.gate.enqueue({"folder": str(folder)})
    child = psutil.Process(int(until_told(folder)[0].split()[1]))
    most = 2.5 if sys.version_info >= (3, 12) else 4.5
    assert child.memory_full_info().uss < most * 1e6


def test_a_rehearsal_calls_none_of_the_applications_middlewares(spawn_worker: Spawn, tmp_path: Path) -> None:
    spawn_worker(JOB_MIDDLEWARE="tests.engine.middlewares:Breaking")
    job = samples.double.enqueue({"value": 1})
    log = wait_until(lambda: text if job.id in (text := (tmp_path / "process-0.log").read_text()) else None)
    assert "job raised" in log
    assert "rehearsal" not in log


def test_after_a_rehearsal_the_process_is_as_it_was() -> None:
    code = """
import os, signal, sys, threading
from jobs.engine import fleet, registry
from jobs.engine.worker import rehearsal
from jobs.settings import Settings
def state():
    return (sorted(os.listdir("/proc/self/fd")), threading.enumerate(), signal.getsignal(signal.SIGALRM), sys.stdout,
            sys.__stderr__, sys.getprofile(), list(registry.all_types()), os.fstat(1).st_ino, os.fstat(2).st_ino)
known = fleet.connect(Settings.from_env())
before = state()
rehearsal.rehearse(known, rehearsal)
assert state() == before, (before, state())
print("printed")
"""
    environ = {**os.environ, "SECRET_KEY": "x" * 32, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("printed\n", "", 0)
