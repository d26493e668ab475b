"""The shape of the source: small files, small functions, imports one way, one reader of the environment."""

from __future__ import annotations

import ast
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
