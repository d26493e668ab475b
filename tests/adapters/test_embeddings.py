"""The embedding model that ships in a package."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from jobs.adapters.embeddings import DIMENSIONS, embed, model_name


def test_embeddings_are_float32_rows_of_length_one() -> None:
    rows = embed(["Invoices are due within thirty days", "The cat sat on the mat", "😀"])
    assert (rows.shape, rows.dtype) == ((3, DIMENSIONS), np.float32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_no_texts_give_no_rows() -> None:
    assert embed([]).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("text", ["", "\x00", "\ud800", "word " * 100_000])
def test_any_text_has_a_finite_embedding(text: str) -> None:
    assert np.isfinite(embed([text, "other"])).all()


def test_a_text_gets_the_same_row_alone_and_among_others() -> None:
    among = embed(["short", "a much longer text " * 50, "payment deadline"])[2]
    assert embed(["payment deadline"])[0] == pytest.approx(among, abs=1e-6)


@pytest.mark.parametrize(
    ("question", "nearest"),
    [("payment deadline", 0), ("kitten", 1), ("French capital city", 2)],
)
def test_what_means_the_same_lies_close_together(question: str, nearest: int) -> None:
    texts = ["Invoices must be paid within thirty days", "The cat sat on the mat", "Paris is the capital of France"]
    assert int(np.argmax(embed(texts) @ embed([question])[0])) == nearest


def test_the_rows_are_those_of_wordllama_itself() -> None:
    code = """
import numpy as np, wordllama
from pathlib import Path
from jobs.adapters.embeddings import embed
texts = ["Who waters the plants?", "a much longer text " * 50, "", "\u00e4\u00f6\u00fc \u4f60\u597d \U0001f600"] * 20
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
theirs = model.embed(texts, batch_size=32)
lengths = np.linalg.norm(theirs, axis=1, keepdims=True)
print(np.array_equal(embed(texts), np.divide(theirs, lengths, out=np.zeros_like(theirs), where=lengths > 0)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_the_name_tells_which_weights_made_a_vector() -> None:
    assert model_name().startswith("wordllama-l2-supercat-256@")


def test_loading_leaves_the_log_of_the_process_alone() -> None:
    code = (
        "import logging; from jobs.adapters import embeddings; embeddings.load(); print(logging.getLogger().handlers)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_forked_child_embeds_with_the_model_of_its_parent() -> None:
    expected = embed(["hello"])
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(embed(["hello"]), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
