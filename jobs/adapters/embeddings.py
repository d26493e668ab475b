"""Sentence embeddings from a model that ships inside the wordllama package: no network, no GPU."""

from __future__ import annotations

import logging
import os
import threading
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.adapters.words import storable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 256
MAX_LETTERS = 8000
_loading = threading.Lock()


def model_name() -> str:
    """The model and the version of its weights: vectors of different names can't be compared."""
    return f"wordllama-l2-supercat-{DIMENSIONS}@{version('wordllama').partition('.post')[0]}"


def embed(texts: list[str]) -> NDArray[np.float32]:
    """The texts as float32 rows of length 1, shape (n, 256); a text without any known word gives a row of zeros.

    What a text holds past 8,000 characters does not count.
    """
    import numpy as np

    if not texts:
        return np.zeros((0, DIMENSIONS), np.float32)
    vectors = load().embed([storable(text[:MAX_LETTERS]) for text in texts], batch_size=32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def load() -> Any:
    """The model, read once a process (0.4 s, 32 MB); call it before forking to share its memory."""
    with _loading:
        return _model()


@cache
def _model() -> Any:
    os.putenv("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive a fork
    root = logging.getLogger()
    silencer = logging.NullHandler()
    root.addHandler(silencer)  # wordllama calls logging.basicConfig when imported: with a handler that does nothing
    try:
        import wordllama  # type: ignore[import-untyped]

        folder = Path(wordllama.__file__).parent
        return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    finally:
        root.removeHandler(silencer)


def _renew_lock() -> None:
    global _loading
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
