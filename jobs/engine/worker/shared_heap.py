"""Keeps forks from copying what was loaded before them: nobody counts the references to it or collects it any more.

A fork shares its parent's memory until one of the two writes to it, and CPython writes to an object's page whenever it
takes or drops a reference. An object whose count says that it is immortal (PEP 683, CPython 3.12) is spared that.
Meta's CPython makes the whole heap immortal before its web servers fork (`immortalize_heap` of Cinder); here the same
is done from outside, by writing the count. In another interpreter only the collector is kept away (`gc.freeze`).

Objects that die after this are never freed: no more than what there was. Weak references to them stay alive.
"""

from __future__ import annotations

import _io
import _socket
import ctypes
import gc
import sys
import types
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any, Literal

TRIED = ((3, 12), (3, 13))
"""Versions of CPython whose immortal objects are those with IMMORTAL in the lower half of their count."""
IMMORTAL, WIDTH = 0xFFFFFFFF, 4
"""Of a count: its lower half, in bytes."""
MANY = 2**31
"""A count above it is no count."""
AT_ONCE = 300
"""Objects whose references are looked at in one go."""
SPARED = (types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
CLOSING: tuple[type, ...] = (_io._IOBase, _socket.socket)
"""What runs, and what has to be closed when nobody refers to it any more, stays mortal."""


def share() -> bool:
    """Have forks of this process share all that is in it now; whether its objects became immortal.

    To be called in a process of one thread. Takes less than a microsecond for each object.
    """
    gc.collect()
    gc.unfreeze()
    if possible := _is_possible():
        _make_immortal()
    gc.freeze()
    return possible


def _is_possible() -> bool:
    """Whether things lie where they are expected: what a tuple holds, the counts of immortal objects and of others."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in TRIED or sys.byteorder != "little":
        return False
    mortal, counts = object(), _memory("I")
    if counts[id(None) // WIDTH] != IMMORTAL or counts[id(mortal) // WIDTH] != sys.getrefcount(mortal) - 1:
        return False
    objects = (mortal, None)
    return list(_addresses(objects, _memory("P"))) == [id(mortal), id(None)]


def _memory(format: Literal["I", "P"]) -> memoryview[int]:
    """All that a process can address. A word is written ten times as fast through it as by a function of C."""
    return memoryview((ctypes.c_char * sys.maxsize).from_address(0)).cast("B")[: sys.maxsize // 8 * 8].cast(format)


def _addresses(objects: tuple[Any, ...], words: memoryview[int]) -> memoryview[int]:
    """Where they are, to be read while the tuple exists. `id` is slow where somebody audits what Python does."""
    start = (id(objects) + tuple.__basicsize__) // words.itemsize
    return words[start : start + len(objects)]


def _make_immortal() -> None:
    """All that the collector knows, and all that is referred to from there, constants of code among it."""
    mark = partial(_mark, frozenset(_spared()), _memory("I"), _memory("P"))
    marked = mark(gc.get_objects())
    while marked:
        found: list[Any] = []
        for start in range(0, len(marked), AT_ONCE):
            found += mark(gc.get_referents(*marked[start : start + AT_ONCE]))
        for code in marked:
            if type(code) is types.CodeType:  # of which the collector doesn't know what it refers to
                found += mark((code.co_consts, code.co_names, code.co_name, code.co_qualname, code.co_filename))
        marked = found


def _mark(
    spared: Collection[type], counts: memoryview[int], words: memoryview[int], objects: Sequence[Any]
) -> Sequence[Any]:
    """Make those immortal that are mortal and not spared, and return them."""
    count, many, immortal, width = sys.getrefcount, MANY, IMMORTAL, WIDTH  # a million of them: locals are quicker
    mortal = tuple([each for each in objects if count(each) < many and type(each) not in spared])
    for address in _addresses(mortal, words):
        counts[address // width] = immortal
    return mortal


def _spared() -> Iterator[type]:
    yield from SPARED
    kinds = list(CLOSING)
    while kinds:
        yield (kind := kinds.pop())
        kinds += kind.__subclasses__()
