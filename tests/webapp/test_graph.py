"""Workflows as pictures: where boxes stand, when many are one, and what is not drawn."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from jobs.engine import WorkflowView
from jobs.engine.workflows.views import EdgeView, NodeView
from webapp.console import graph, layers
from webapp.console.layers import BOX_HEIGHT, BOX_WIDTH


def flow(edges: list[tuple[str, str]], names: list[str] | None = None, **status: str) -> WorkflowView:
    """A workflow of these edges; every node is deferred unless it is said otherwise."""
    names = names or list(dict.fromkeys(name for edge in edges for name in edge))
    return WorkflowView(
        id="one",
        name="one",
        status="running",
        nodes=[NodeView(name=name, type="a.step", status=status.get(name, "deferred"), job_id=name) for name in names],  # type: ignore[arg-type]
        edges=[EdgeView(parent=parent, child=child, policy="fail") for parent, child in edges],
    )


def spread(count: int) -> list[tuple[str, str]]:
    pages = [f"page-{number}" for number in range(count - 2)]
    return [("split", page) for page in pages] + [(page, "join") for page in pages]


@pytest.mark.parametrize("seed", range(5))
def test_parents_stand_to_the_left_and_no_boxes_touch(seed: int) -> None:
    chance, names = random.Random(seed), [f"n{number}" for number in range(60)]
    edges = sorted({tuple(f"n{end}" for end in sorted(chance.sample(range(60), 2))) for _ in range(90)})
    drawing = layers.draw(names, edges)  # type: ignore[arg-type]
    for parent, child in edges:
        assert drawing.corners[parent].x + BOX_WIDTH < drawing.corners[child].x
    columns: dict[float, list[float]] = {}
    for corner in drawing.corners.values():
        columns.setdefault(corner.x, []).append(corner.y)
        assert 0 <= corner.x <= drawing.width - BOX_WIDTH and 0 <= corner.y <= drawing.height - BOX_HEIGHT
    for heights in columns.values():
        assert all(below - above > BOX_HEIGHT for above, below in pairwise(sorted(heights)))


def test_a_line_goes_from_box_to_box_and_around_what_is_between() -> None:
    drawing = layers.draw(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    around = drawing.routes["a", "c"]
    assert around[0].x == drawing.corners["a"].x + BOX_WIDTH and around[-1].x == drawing.corners["c"].x
    middle = drawing.corners["b"].y + BOX_HEIGHT / 2
    assert all(abs(point.y - middle) > BOX_HEIGHT / 2 for point in around[1:-1])


def test_few_nodes_are_drawn_one_by_one_and_many_alike_together() -> None:
    few = graph.picture_of(flow(spread(20)))
    assert few is not None and (len(few.boxes), few.together) == (20, False)
    assert {box.label for box in few.boxes} >= {"split: deferred", "page-3: deferred"}
    many = graph.picture_of(flow(spread(100), **{"split": "completed", "page-0": "failed", "page-1": "completed"}))
    assert many is not None and (len(many.boxes), len(many.lines), many.together) == (3, 2, True)
    together = next(box for box in many.boxes if len(box.names) == 98)
    assert (together.status, together.says, together.job_id) == ("failed", "1 failed of 98", None)
    apart = graph.picture_of(flow(spread(100)), apart=True)
    assert apart is not None and len(apart.boxes) == 100


def test_what_would_be_no_help_to_look_at_is_not_drawn() -> None:
    chain = [(f"n{number}", f"n{number + 1}") for number in range(999)]
    assert graph.picture_of(flow(chain)) is None
    dense = [(f"a{one}", f"b{two}") for one in range(50) for two in range(50)]
    assert graph.picture_of(flow(dense), apart=True) is None
    together = graph.picture_of(flow(dense))
    assert together is not None and len(together.boxes) == 2


def test_what_others_spoiled_is_drawn_as_far_as_it_can_be() -> None:
    circle = flow([("a", "b"), ("b", "a"), ("b", "c"), ("gone", "c")], names=["a", "b", "c"])
    picture = graph.picture_of(circle)
    assert picture is not None and len(picture.boxes) == 3
    assert [node.name for node in graph.in_order(circle)] == ["a", "b", "c"]


def test_nodes_are_listed_as_they_follow_each_other_and_counted_names_by_their_number() -> None:
    names = [node.name for node in graph.in_order(flow(spread(14)))]
    assert names == ["split", *(f"page-{number}" for number in range(12)), "join"]
