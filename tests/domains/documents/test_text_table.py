"""A table of texts is the dict that it was made of, and readers of PDFs have theirs as one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domains.documents._text_table import TextTable
from tests.conftest import ROOT

LOADED = """
import runpy, sys
from jobs.engine import connect
from jobs.settings import Settings
connect(Settings(secret_key="s" * 32, database_url=f"sqlite:///{sys.argv[1]}/documents.db"))
from jobs.domains.documents import _preload
_preload.load()
import pypdf._cmap, pypdf._codecs.adobe_glyphs
table = pypdf._cmap.adobe_glyphs
assert type(table).__name__ == "TextTable", type(table)
original = runpy.run_path(sys.modules[_preload.GLYPHS].__file__)["adobe_glyphs"]
assert len(original) > 4000 and dict(table) == original
"""


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=3)), st.text(max_size=9))
def test_a_table_says_what_its_dict_said(texts: dict[str, str], other: str) -> None:
    table = TextTable(texts)
    assert dict(table) == texts == {name: table[name] for name in texts}
    assert (len(table), other in table, table.get(other)) == (len(texts), other in texts, texts.get(other))


@pytest.mark.parametrize("name", [None, 1, b"/A", ("/A",)])
def test_what_is_no_text_is_not_in_it(name: object) -> None:
    assert name not in TextTable({"/A": "A"})


def test_the_reader_of_pdfs_has_its_names_of_characters_in_a_table(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LOADED, str(tmp_path)], cwd=ROOT, timeout=60, check=True)
