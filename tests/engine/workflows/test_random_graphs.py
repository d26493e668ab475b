"""Random graphs: each node ends in just the state that the policies say, whatever gets lost on the way."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.engine import Fleet, keys
from tests.engine.workflows.driver import EARLY_ENDS, RUN_ENDS, Driver, Graph

OFTEN = hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
POLICIES = ("fail", "fail", "continue", "compensate")


@st.composite
def graphs(draw: Any, early: bool = True) -> Graph:
    count = draw(st.integers(1, 10))
    chance = random.Random(draw(st.integers(0, 10**9)))
    density, early = chance.choice((0.1, 0.3, 0.7)), early and chance.random() < 0.3
    ends = (*RUN_ENDS, *EARLY_ENDS) if early else RUN_ENDS
    badness = chance.choice((0.0, 0.2, 0.6))
    return Graph(
        ends={node: chance.choice(ends) if chance.random() < badness else "well" for node in range(count)},
        edges={
            (parent, child): chance.choice(POLICIES)
            for child in range(count)
            for parent in range(child)
            if chance.random() < density
        },
        undoable=frozenset(node for node in range(count) if chance.random() < 0.5),
        undo_ends={node: chance.choice(("well", "badly", "deleted")) for node in range(count)},
    )


@OFTEN
@given(graph=graphs(), seed=st.integers(0, 10**9))
def test_every_node_ends_as_its_policies_say(fleet: Fleet, graph: Graph, seed: int) -> None:
    fleet.redis.flushdb()
    driver = Driver(fleet, graph, random.Random(seed))
    view = driver.run()
    expected = graph.states()
    assert {node.name: node.status for node in view.nodes if node.status not in expected[node.name]} == {}
    assert (view.status, view.done, view.total) == (graph.status(), len(graph.ends), len(graph.ends))
    undone = [name[5:] for name in driver.begun if name.startswith("undo:")]
    assert set(undone) == graph.to_undo()
    for child in undone:
        assert not any(f"n{parent}" in undone[: undone.index(child)] for parent in graph.parents(int(child[1:])))
    assert_nothing_waits(fleet)


def assert_nothing_waits(fleet: Fleet) -> None:
    """No job is deferred, no set of dependents is left, and nobody looks after the workflow any more."""
    assert fleet.redis.zcard(keys.registry("deferred", "default")) == 0
    assert list(fleet.redis.scan_iter(f"{keys.PREFIX}:job:*:dependents")) == []
    assert fleet.redis.zcard(keys.WORKFLOWS) == 0
    left = {key.decode(): fleet.redis.ttl(key) for key in fleet.redis.scan_iter(f"{keys.PREFIX}:job:*")}
    assert {key: ttl for key, ttl in left.items() if ttl < 0} == {}, "a job that has ended is kept for a time"
