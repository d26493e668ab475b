"""The Python of the smaller pages runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

FILES = re.compile(r"^```python +(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def written(page: str, folder: Path) -> list[Path]:
    """The files that a page shows, in a folder."""
    paths = []
    for name, code in FILES.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        paths.append(path)
    return paths


def python(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **environ}
    return subprocess.run([sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=180)


def test_the_middleware_of_the_page_carries_the_language(tmp_path: Path, environ: dict[str, str]) -> None:
    written("middleware.md", tmp_path)
    code = """
from acme.locale import Locale, language
from jobs.engine import Context, Payload, connect, job
from jobs.engine.envelope import decode
from jobs.settings import Settings

class Nothing(Payload):
    pass

@job("texts.greet")
def greet(payload: Nothing, context: Context) -> str:
    return language.get()

fleet = connect(Settings.from_env()).discover()
language.set("fr")
(new,) = fleet.client.prepare(greet, [Nothing()])
language.set("en")
carried = decode(new.data).args[2]["carried"]
context = Context("", "", greet.name, 1, 0, "", "", fleet.settings, None, carried=carried)
assert fleet.middleware.run(greet, Nothing(), context) == "fr"
assert language.get() == "en"
"""
    done = python(tmp_path, "-c", code, **environ, JOB_MIDDLEWARE="acme.locale:Locale")
    assert done.returncode == 0, done.stderr
