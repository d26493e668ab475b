"""A workflow that can't be right is refused when it is built or enqueued, and nothing of it is written."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobs.engine import (
    Fleet,
    IdempotencyConflict,
    InvalidPayload,
    InvalidWorkflow,
    MissingEncryptionKey,
    NotFound,
    PayloadTooLarge,
    Workflow,
    chain,
    group,
    keys,
)
from jobs.engine.workflows.build import MOST_EDGES, MOST_NODES
from tests.engine.samples import flows, jobs
from tests.engine.samples.flows import Step


def test_nodes_that_wait_for_each_other_are_refused(fleet: Fleet) -> None:
    flow = Workflow("circle")
    flow.add(flows.step, Step(), name="first", after="third")
    flow.add(flows.step, Step(), name="second", after="first")
    flow.add(flows.step, Step(takes=flow.result("second")), name="third")
    refused(fleet, flow, "circle: first, second, third")


def test_a_node_that_waits_for_nobody_known_is_refused(fleet: Fleet) -> None:
    flow = Workflow("unknown")
    flow.add(flows.step, Step(), after="nobody")
    refused(fleet, flow, "step comes after nobody, and there is no such node")


def test_a_node_that_waits_for_itself_is_refused(fleet: Fleet) -> None:
    flow = Workflow("itself")
    flow.add(flows.step, Step(), name="me", after="me")
    refused(fleet, flow, "me comes after itself")


def test_a_workflow_without_nodes_is_refused(fleet: Fleet) -> None:
    refused(fleet, Workflow("empty"), "at least one node")


def test_more_than_a_thousand_nodes_are_refused() -> None:
    flow = group(*[(flows.step, Step())] * MOST_NODES)
    with pytest.raises(InvalidWorkflow, match="at most 1000 nodes"):
        flow.add(flows.step, Step())


def test_too_many_edges_are_refused(fleet: Fleet) -> None:
    layer = [(flows.step, Step())] * 101
    assert len(layer) ** 2 > MOST_EDGES
    refused(fleet, chain(layer, layer), "at most 10000 edges")


@pytest.mark.parametrize(
    "options",
    [{"name": "with space"}, {"name": "x" * 65}, {"name": "step"}, {"after": {"step": "retry"}}, {"after": [3]}],
)
def test_names_policies_and_parents_are_checked_at_once(options: dict[str, Any]) -> None:
    flow = Workflow("names")
    flow.add(flows.step, Step())
    with pytest.raises(InvalidWorkflow):
        flow.add(flows.step, Step(), **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Workflow(""),
        lambda: Workflow("w", id="no/slash"),
        lambda: Workflow("w", keep=timedelta(0)),
        lambda: chain((flows.step,)),  # type: ignore[arg-type]
        lambda: chain([]),
    ],
)
def test_a_workflows_own_values_are_checked_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidWorkflow):
        make()


def test_a_payload_that_does_not_fit_names_its_node_and_field(fleet: Fleet) -> None:
    flow = Workflow("payloads")
    first = flow.add(flows.step, Step())
    flow.add(flows.typed, flows.Typed(numbers=first.result, label=3), name="sum")  # type: ignore[arg-type]
    refused(fleet, flow, "sum: .*label", InvalidPayload)


def test_a_result_for_a_field_that_is_none_is_refused(fleet: Fleet) -> None:
    flow = Workflow("fields")
    first = flow.add(flows.step, Step())
    flow.add(flows.typed, {"numbers": [], "more": first.result}, name="sum")
    refused(fleet, flow, "sum: Typed has no field more", InvalidPayload)


def test_a_payload_of_another_type_is_refused(fleet: Fleet) -> None:
    flow = Workflow("types")
    first = flow.add(flows.step, Step())
    flow.add(flows.typed, Step(takes=first.result))
    refused(fleet, flow, "expected Typed, got Step", InvalidPayload)


def test_a_result_that_may_not_be_there_needs_something_else_to_pass(fleet: Fleet) -> None:
    flow = Workflow("continue")
    first = flow.add(flows.step, Step())
    flow.add(flows.step, Step(takes=first.result), name="second", after={first: "continue"})
    refused(fleet, flow, "second runs though step did not complete")
    flow.nodes["second"].payload = Step(takes=first.result.or_else(None))
    assert flow.enqueue(fleet).total == 2


def test_a_result_can_not_become_part_of_a_text() -> None:
    flow = Workflow("texts")
    first = flow.add(flows.step, Step())
    with pytest.raises(InvalidPayload, match="the result of step is not known yet"):
        Step(name=f"after {first.result}")
    with pytest.raises(TypeError):
        list(first.result)


def test_a_limit_by_a_field_that_is_not_known_yet_is_refused(fleet: Fleet) -> None:
    flow = Workflow("limits")
    first = flow.add(flows.step, Step())
    flow.add(flows.limited, {"flow_id": first.result["name"]}, name="second")
    refused(fleet, flow, "flow_id is not known before the workflow runs", InvalidPayload)


def test_a_lock_on_a_field_that_is_not_known_yet_is_refused(fleet: Fleet) -> None:
    flow = Workflow("locks")
    first = flow.add(flows.step, Step())
    flow.add(flows.single, {"name": first.result["name"]}, name="second")
    refused(fleet, flow, "name is not known before the workflow runs", InvalidPayload)


def test_a_node_of_another_tenant_is_refused(fleet: Fleet) -> None:
    flow = Workflow("tenants", tenant="acme")
    flow.add(flows.limited, flows.Owned(tenant_id="other"))
    refused(fleet, flow, "another tenant")


def test_a_compensation_takes_no_result_of_a_stranger(fleet: Fleet) -> None:
    flow = Workflow("compensations")
    first, stranger = flow.add(flows.step, Step()), flow.add(flows.step, Step(), name="stranger")
    first.compensate(flows.undo, Step(takes=stranger.result))
    refused(fleet, flow, "the compensation of step can have results of step")


def test_a_secret_without_a_key_and_payloads_too_large_are_refused(fleet: Fleet) -> None:
    flow = Workflow("secret")
    flow.add(jobs.sealed, {"key": "s3cret"})
    refused(fleet, flow, "ENCRYPTION_KEYS", MissingEncryptionKey)
    large = Workflow("large")
    noise = b64encode(os.urandom(750_000)).decode()
    for _ in range(12):
        large.add(flows.step, Step(name=noise))
    refused(fleet, large, "payloads are over", PayloadTooLarge)


def test_the_same_id_and_content_is_enqueued_once(fleet: Fleet) -> None:
    first, second = sample("one").enqueue(fleet), sample("one").enqueue(fleet)
    assert first.nodes == second.nodes
    assert fleet.redis.llen(keys.queue("default")) == 1
    other = sample("one")
    other.add(flows.step, Step())
    with pytest.raises(IdempotencyConflict, match="another workflow"):
        other.enqueue(fleet)
    with pytest.raises(IdempotencyConflict, match="taken"):
        sample("one", tenant="other").enqueue(fleet)


def test_another_tenants_workflow_is_none(fleet: Fleet) -> None:
    view = sample("mine").enqueue(fleet)
    calls: list[Callable[[], object]] = [
        lambda: fleet.workflows.get("mine", "other"),
        lambda: fleet.workflows.cancel("mine", "other"),
        lambda: fleet.workflows.replay("mine", "step", "other"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="there is no workflow mine"):
            call()
    assert fleet.workflows.get(view.id, "acme").status == "running"


def sample(flow_id: str, tenant: str = "acme") -> Workflow:
    flow = Workflow("sample", id=flow_id, tenant=tenant)
    first = flow.add(flows.step, Step(takes=1), compensate=flows.undo)
    flow.add(flows.step, Step(takes=first.result), after={first: "compensate"})
    return flow


def refused(fleet: Fleet, flow: Workflow, why: str, error: type[Exception] = InvalidWorkflow) -> None:
    """Enqueueing raises, and Redis stays empty."""
    with pytest.raises(error, match=why):
        flow.enqueue(fleet)
    assert list(fleet.redis.scan_iter()) == []
