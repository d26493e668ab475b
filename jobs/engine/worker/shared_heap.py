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
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import repeat
from typing import Any

TRIED = ((3, 12), (3, 13))
"""Versions of CPython whose immortal objects are those with IMMORTAL in the lower half of their count."""
IMMORTAL, WIDTH = 0xFFFFFFFF, 4
MANY = 2**31
"""A count above it is no count."""
AT_ONCE = 1000
"""Objects whose references are looked at in one go."""
SPARED = (types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
CLOSING: tuple[type, ...] = (_io._IOBase, _socket.socket)
"""What runs, and what has to be closed when nobody refers to it any more, stays mortal."""


def share() -> bool:
    """Have forks of this process share all that is in it now; whether its objects became immortal.

    To be called in a process of one thread. Takes about a microsecond for each object.
    """
    gc.collect()
    gc.unfreeze()
    if possible := _is_possible():
        _make_immortal()
    gc.freeze()
    return possible


def _is_possible() -> bool:
    """Whether counts lie where they are expected, of an object that is immortal and of one that is not."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in TRIED or sys.byteorder != "little":
        return False
    mortal = object()
    return _count_at(id(None)) == IMMORTAL and _count_at(id(mortal)) == sys.getrefcount(mortal) - 1


def _count_at(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


def _make_immortal() -> None:
    """All that the collector knows, and all that is referred to from there."""
    spared = frozenset(_spared())
    found = _mortal(gc.get_objects(), spared)
    while found:
        _mark(found)
        found = [
            each
            for start in range(0, len(found), AT_ONCE)
            for each in _mortal(gc.get_referents(*found[start : start + AT_ONCE]), spared)
        ]


def _spared() -> Iterator[type]:
    yield from SPARED
    kinds = list(CLOSING)
    while kinds:
        yield (kind := kinds.pop())
        kinds += kind.__subclasses__()


def _mortal(objects: Sequence[Any], spared: Collection[type]) -> list[Any]:
    return [each for each in objects if sys.getrefcount(each) < MANY and type(each) not in spared]


def _mark(objects: Sequence[Any]) -> None:
    write = ctypes.pythonapi.memset
    write.argtypes, write.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), None
    deque(map(write, map(id, objects), repeat(0xFF), repeat(WIDTH)), maxlen=0)
