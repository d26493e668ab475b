"""The shape of the source: small files, small functions, imports one way, one reader of the environment."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

MOST_LINES = 300
MOST_FUNCTION_LINES = 40
SHIPPED = ("jobs", "webapp", "worker.py")
ROOMS = (*SHIPPED, "deploy", "benchmarks", "tests")


def sources(*rooms: str) -> list[Path]:
    found = [ROOT / room for room in rooms]
    return sorted(file for path in found for file in ([path] if path.is_file() else path.rglob("*.py")))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in sources(*ROOMS)}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_longer_than_40_lines() -> None:
    too_long = {
        f"{_name(file)}:{function.name}": function.end_lineno - function.lineno + 1
        for file in sources(*ROOMS)
        for function in functions(ast.parse(file.read_text(encoding="utf-8")))
        if function.end_lineno and function.end_lineno - function.lineno >= MOST_FUNCTION_LINES
    }
    assert too_long == {}


def test_scripts_of_redis_are_as_small_and_say_what_they_take() -> None:
    for script in sorted((ROOT / "jobs" / "engine" / "lua").glob("*.lua")):
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= MOST_LINES, script.name
        code = lines[1:] if lines[0].startswith("#!lua") else lines
        assert code[0].startswith("-- "), script.name
        assert script.name.startswith("lib_") or any(line.startswith("-- ") and "ARGV" in line for line in code)
        assert [name for name, length in _lua_functions(lines) if length > MOST_FUNCTION_LINES] == [], script.name


def _lua_functions(lines: list[str]) -> Iterator[tuple[str, int]]:
    """The name of each function and how many lines it has; its end is indented as its beginning."""
    for at, line in enumerate(lines):
        name = re.match(r"\s*(?:local )?(?:function (\w+)|(\w+) = function)\b", line)
        if name and not line.endswith("end"):
            end = line[: len(line) - len(line.lstrip())] + "end"
            yield name[1] or name[2], next(n for n, each in enumerate(lines[at:], 1) if each == end)


def test_every_module_says_what_it_is() -> None:
    files = sources("jobs", "webapp", "deploy", "worker.py")
    assert [_name(file) for file in files if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))] == []


def test_only_the_settings_read_the_environment() -> None:
    readers = {_name(file) for file in sources(*SHIPPED) if _reads_environment(ast.parse(file.read_text("utf-8")))}
    assert readers == {"jobs/settings.py"}


@pytest.mark.parametrize(
    "code", ["import os\nos.environ['A']", "from os import getenv", "import os as o\no.getenv('A')"]
)
def test_every_way_to_read_the_environment_is_seen(code: str) -> None:
    assert _reads_environment(ast.parse(code))


def test_imports_go_one_way() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _reads_environment(tree: ast.AST) -> bool:
    words = {"environ", "environb", "getenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in words and isinstance(node.value, ast.Name))
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and words & {name.name for name in node.names})
        for node in ast.walk(tree)
    )
