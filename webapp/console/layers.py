"""Where the boxes of a graph are drawn: in layers from left to right, with few crossings (Sugiyama et al., 1981)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

BOX_WIDTH, BOX_HEIGHT = 200, 54
COLUMN, ROW, BEND = 276, 68, 24
MARGIN = 12
SWEEPS, MOST_BENDS = 4, 3000

Edge = tuple[str, str]


class Point(NamedTuple):
    """A place in the drawing, in its own units."""

    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """The upper left corner of each box, and of each edge the points that it passes from box to box."""

    width: float
    height: float
    corners: Mapping[str, Point]
    routes: Mapping[Edge, Sequence[Point]]


def draw(names: Sequence[str], edges: Sequence[Edge]) -> Drawing:
    """Place the boxes of these names, parents to the left of their children; the edges hold no circle."""
    layer = layers_of(names, edges)
    chains = _chains(edges, layer)
    columns = _columns(names, layer, chains)
    links = [pair for chain in chains.values() for pair in pairwise(chain)]
    parents, children = _neighbours(links)
    _uncross(columns, parents, children)
    height_of = dict.fromkeys(names, ROW)
    centre = _align(columns, parents, children, height_of)
    top = min(centre.values(), default=0.0) - BOX_HEIGHT / 2
    place = {
        name: Point(MARGIN + number * COLUMN, centre[name] - top + MARGIN)
        for number, column in enumerate(columns)
        for name in column
    }
    return Drawing(
        width=2 * MARGIN + max(len(columns) - 1, 0) * COLUMN + BOX_WIDTH,
        height=max((point.y for point in place.values()), default=0.0) + BOX_HEIGHT / 2 + MARGIN,
        corners={name: Point(place[name].x, place[name].y - BOX_HEIGHT / 2) for name in names},
        routes={edge: _route(chain, place) for edge, chain in chains.items()},
    )


def layers_of(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way from a beginning; what waits for nothing stands right before what follows it.

    What is in a circle, which only somebody else can have written, stands at the beginning.
    """
    parents, children = _neighbours(edges)
    layer: dict[str, int] = {}
    missing = {name: len(parents.get(name, ())) for name in names}
    ready = [name for name in names if not missing[name]]
    for name in ready:
        layer[name] = max((layer[parent] + 1 for parent in parents.get(name, ())), default=0)
        for child in children.get(name, ()):
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    layer |= dict.fromkeys(set(names) - layer.keys(), 0)
    for name in names:
        if name not in parents and name in children:
            layer[name] = max(min(layer[child] for child in children[name]) - 1, 0)
    return layer


def _chains(edges: Sequence[Edge], layer: Mapping[str, int]) -> dict[Edge, list[str]]:
    """Each edge with the bends at which it passes the layers in between; none where there would be too many."""
    bends = sum(layer[child] - layer[parent] - 1 for parent, child in edges)
    chains = {}
    for number, (parent, child) in enumerate(edges):
        between = range(layer[parent] + 1, layer[child]) if bends <= MOST_BENDS else ()
        chains[parent, child] = [parent, *(f"\n{at}\n{number}" for at in between), child]
    return chains


def _columns(names: Sequence[str], layer: Mapping[str, int], chains: Mapping[Edge, Sequence[str]]) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in names:
        columns[layer[name]].append(name)
    for chain in chains.values():
        for bend in chain[1:-1]:
            columns[int(bend.split("\n")[1])].append(bend)
    return columns


def _neighbours(links: Sequence[Edge]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    parents: dict[str, list[str]] = {}
    children: dict[str, list[str]] = {}
    for parent, child in links:
        parents.setdefault(child, []).append(parent)
        children.setdefault(parent, []).append(child)
    return parents, children


def _uncross(
    columns: Sequence[list[str]], parents: Mapping[str, Sequence[str]], children: Mapping[str, Sequence[str]]
) -> None:
    """Sort each column by the mean place of its neighbours, to and fro."""
    place = {name: float(at) for column in columns for at, name in enumerate(column)}
    for sweep in range(SWEEPS):
        neighbours = parents if sweep % 2 == 0 else children
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {name: _mean(name, neighbours, place) for name in column}
            column.sort(key=wanted.__getitem__)
            place |= {name: float(at) for at, name in enumerate(column)}


def _align(
    columns: Sequence[Sequence[str]],
    parents: Mapping[str, Sequence[str]],
    children: Mapping[str, Sequence[str]],
    height_of: Mapping[str, int],
) -> dict[str, float]:
    """The middle of each box and bend, as near to those of its neighbours as the others leave room for."""
    centre: dict[str, float] = {}
    for column in columns:
        centre |= _stacked(column, dict.fromkeys(column, 0.0), height_of)
    for sweep in range(SWEEPS):
        neighbours = parents if sweep % 2 == 0 else children
        for column in columns if sweep % 2 == 0 else reversed(columns):
            wanted = {name: _mean(name, neighbours, centre) for name in column}
            centre |= _stacked(column, wanted, height_of)
    return centre


def _stacked(column: Sequence[str], wanted: Mapping[str, float], height_of: Mapping[str, int]) -> dict[str, float]:
    """Where they stand in their order without touching, as near to where they want to as can be: the least squares, by
    pooling those that want to be above the one before (isotonic regression, Ayer and others, 1955)."""
    heights = [height_of.get(name, BEND) for name in column]
    offsets = [0.0, *accumulate((a + b) / 2 for a, b in pairwise(heights))] if column else []
    pools: list[tuple[float, int]] = []
    for name, offset in zip(column, offsets, strict=True):
        pools.append((wanted[name] - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (last, n), (before, m) = pools.pop(), pools.pop()
            pools.append(((last * n + before * m) / (n + m), n + m))
    starts = [at for at, count in pools for _ in range(count)]
    return {name: at + offset for name, at, offset in zip(column, starts, offsets, strict=True)}


def _mean(name: str, neighbours: Mapping[str, Sequence[str]], place: Mapping[str, float]) -> float:
    others = neighbours.get(name)
    return sum(place[other] for other in others) / len(others) if others else place[name]


def _route(chain: Sequence[str], place: Mapping[str, Point]) -> list[Point]:
    first, last = place[chain[0]], place[chain[-1]]
    bends = [point for name in chain[1:-1] for point in (place[name], Point(place[name].x + BOX_WIDTH, place[name].y))]
    return [Point(first.x + BOX_WIDTH, first.y), *bends, last]
