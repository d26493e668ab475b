"""Sentence embeddings from a model that ships inside the wordllama package: no network, no GPU.

A text's vector is the mean of its tokens' vectors, as wordllama computes it, bit for bit. The weights stay in their
file, mapped into memory: all processes of a machine share them, and only what is looked up takes any.
"""

from __future__ import annotations

import json
import os
import threading
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.adapters.words import storable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 256
MAX_LETTERS = 8000
AT_ONCE = 32
WEIGHTS = f"weights/l2_supercat_{DIMENSIONS}.safetensors"
VOCABULARY = "tokenizers/l2_supercat_tokenizer_config.json"
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
    vectors = np.concatenate([_means(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def load() -> tuple[Any, NDArray[np.float16]]:
    """Tokenizer and weights, read once a process (0.1 s, 16 MB); call it before forking to share its memory."""
    with _loading:
        return _model()


def _means(texts: list[str]) -> NDArray[np.float32]:
    import numpy as np

    tokenizer, weights = load()
    tokens = tokenizer.encode_batch([storable(text[:MAX_LETTERS]) for text in texts], add_special_tokens=False)
    rows = weights[np.array([each.ids for each in tokens], np.int32)].astype(np.float32)
    counts = np.array([each.attention_mask for each in tokens], np.float32)
    total = np.sum(rows * counts[..., np.newaxis], axis=1, dtype=np.float32)
    mean: NDArray[np.float32] = total / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return mean


@cache
def _model() -> tuple[Any, NDArray[np.float16]]:
    os.putenv("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive a fork
    from tokenizers import Tokenizer

    found = find_spec("wordllama")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the package wordllama, which holds the embedding model, is not installed")
    folder = Path(found.submodule_search_locations[0])
    tokenizer = Tokenizer.from_file(str(folder / VOCABULARY))
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    return tokenizer, _mapped(folder / WEIGHTS)


def _mapped(path: Path) -> NDArray[np.float16]:
    """The one matrix of a safetensors file: 8 bytes with the header's length, the header as JSON, then the numbers."""
    import numpy as np

    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        about = json.loads(file.read(size))["embedding.weight"]
    start = 8 + size + about["data_offsets"][0]
    return np.memmap(path, np.dtype("<f2"), "r", start, tuple(about["shape"]))


def _renew_lock() -> None:
    global _loading
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
