"""A workflow as a picture: boxes for nodes, lines for what they wait for; many alike are one box."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.engine import WorkflowView
from jobs.engine.workflows.views import EdgeView, NodeView
from webapp.console import layers
from webapp.console.layers import Point

MOST_APART = 60
"""Nodes that are drawn one by one; of more, those of a type that stand side by side are one box."""
MOST_BOXES = 300
"""Of more boxes there is no picture, but the table."""
MOST_LINES = 2000
"""Likewise of more lines."""
LONGEST = 22
"""Characters of a name that a box has room for."""
BOX_WIDTH, BOX_HEIGHT = layers.BOX_WIDTH, layers.BOX_HEIGHT
ORDER = ("failed", "cancelled", "skipped", "started", "queued", "scheduled", "deferred", "completed")


@dataclass(frozen=True)
class Box:
    """One node, or several alike; `status` is that of all, or else of those that most need a look."""

    names: Sequence[str]
    corner: Point
    title: str
    says: str
    status: str
    job_id: str | None

    @property
    def label(self) -> str:
        """For who does not see the picture."""
        return f"{self.title}: {self.says}"


@dataclass(frozen=True)
class Line:
    """What a box waits for; `path` is an SVG path, `middle` where its policy is written."""

    path: str
    policy: str
    middle: Point


@dataclass(frozen=True)
class Picture:
    """The boxes and lines, and the size of the whole."""

    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[Line]
    together: bool


def picture_of(view: WorkflowView, *, apart: bool = False) -> Picture | None:
    """The picture, with `apart` each node in a box of its own; None where there would be too many boxes."""
    groups = _apart(view) if apart or len(view.nodes) <= MOST_APART else _together(view)
    if len(groups) > MOST_BOXES:
        return None
    home = {node.name: key for key, nodes in groups.items() for node in nodes}
    if len(_edges(view)) > MOST_LINES and len(groups) == len(view.nodes):
        return None
    edges = {(home[edge.parent], home[edge.child]): edge.policy for edge in _edges(view)}
    drawing = layers.draw(list(groups), list(edges))
    return Picture(
        width=drawing.width,
        height=drawing.height,
        boxes=[_box(nodes, drawing.corners[key]) for key, nodes in groups.items()],
        lines=[_line(route, edges[edge]) for edge, route in drawing.routes.items()],
        together=len(groups) < len(view.nodes),
    )


def _apart(view: WorkflowView) -> dict[str, list[NodeView]]:
    return {node.name: [node] for node in sorted(view.nodes, key=lambda node: _as_counted(node.name))}


def _together(view: WorkflowView) -> dict[str, list[NodeView]]:
    """Nodes of a type that are equally far from the beginning."""
    layer = _layer_of(view)
    groups: dict[str, list[NodeView]] = {}
    for node in in_order(view):
        groups.setdefault(f"{layer[node.name]} {node.type}", []).append(node)
    return groups


def _box(nodes: Sequence[NodeView], corner: Point) -> Box:
    counts = Counter(str(node.status) for node in nodes)
    status = next((word for word in ORDER if word in counts), nodes[0].status)
    if len(nodes) == 1:
        return Box([nodes[0].name], corner, _clipped(nodes[0].name), _says(nodes[0]), status, nodes[0].job_id or None)
    title = _clipped(f"{len(nodes)} \N{MULTIPLICATION SIGN} {nodes[0].type.rpartition('.')[2]}")
    says = f"{counts[status]} {status}" + (f" of {len(nodes)}" if len(counts) > 1 else "")
    return Box([node.name for node in nodes], corner, title, says, status, None)


def _says(node: NodeView) -> str:
    undo = node.compensation.status if node.compensation is not None else "unused"
    if undo != "unused":
        return f"{node.status}, undone" if undo == "completed" else f"{node.status}, undo {undo}"
    if node.status == "started" and node.progress is not None:
        return f"{node.status}, {node.progress.percent:.0f} %"
    return node.status


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _line(route: Sequence[Point], policy: str) -> Line:
    first, *rest = route
    path, at = [f"M{first.x:.0f} {first.y:.0f}"], first
    for point in rest:
        if point.y == at.y:
            path.append(f"L{point.x:.0f} {point.y:.0f}")
        else:
            bend = (at.x + point.x) / 2
            path.append(f"C{bend:.0f} {at.y:.0f} {bend:.0f} {point.y:.0f} {point.x:.0f} {point.y:.0f}")
        at = point
    end = rest[0]
    return Line("".join(path), policy, Point((first.x + end.x) / 2, (first.y + end.y) / 2 - 5))


def in_order(view: WorkflowView) -> list[NodeView]:
    """The nodes as they follow each other, those that stand side by side by their names."""
    layer = _layer_of(view)
    return sorted(view.nodes, key=lambda node: (layer[node.name], _as_counted(node.name)))


def _as_counted(name: str) -> list[tuple[int, str]]:
    """A key by which `page-2` comes before `page-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _layer_of(view: WorkflowView) -> dict[str, int]:
    return layers.layers_of([node.name for node in view.nodes], [(edge.parent, edge.child) for edge in _edges(view)])


def _edges(view: WorkflowView) -> list[EdgeView]:
    """Those between nodes that can be read."""
    names = {node.name for node in view.nodes}
    return [edge for edge in view.edges if edge.parent in names and edge.child in names]


def parents_of(view: WorkflowView) -> Mapping[str, Sequence[tuple[str, str]]]:
    """What each node comes after, with the policies."""
    found: dict[str, list[tuple[str, str]]] = {}
    for edge in view.edges:
        found.setdefault(edge.child, []).append((edge.parent, edge.policy))
    return found
