"""Workflows: lists, and one as a graph and a table; cancelling the whole, running again from a node."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue

from jobs.engine import Conflict
from webapp import operators
from webapp.actions import workflows as acting
from webapp.api_answers import checked, tenant_of
from webapp.blueprints.workflows_console import WorkflowQuery
from webapp.console import graph
from webapp.console.forms import asked, is_filtered
from webapp.console.frame import act, blueprint
from webapp.services import fleet

bp = blueprint("workflows", "/workflows")


@bp.get("")
@operators.at_least("viewer")
def index() -> ResponseReturnValue:
    """Those that run or have ended, the newest first."""
    query = asked(WorkflowQuery)
    wanted = query.model_dump(include={"limit", "cursor", "text"})
    tenant = tenant_of(query.tenant)
    page = checked(lambda: fleet().workflows.find(query.state, tenant=tenant, **wanted))
    counts = fleet().workflows.counts() if operators.own_tenant() is None else {}
    filtered = is_filtered(query, "state")
    return render_template("console/workflows.html", page=page, query=query, counts=counts, filtered=filtered)


@bp.get("/<workflow_id>")
@operators.at_least("viewer")
def show(workflow_id: str) -> ResponseReturnValue:
    """One workflow: its graph, its nodes, how far it is."""
    view = fleet().workflows.get(workflow_id, operators.own_tenant())
    picture = graph.picture_of(view, apart="apart" in request.args)
    parents = graph.parents_of(view)
    return render_template("console/workflow.html", flow=view, picture=picture, parents=parents, graph=graph)


@bp.post("/<workflow_id>/cancel")
@operators.at_least("operator")
def cancel(workflow_id: str) -> ResponseReturnValue:
    """Cancel what has not ended."""

    def do() -> str:
        view = acting.cancel(fleet(), operators.operator(), workflow_id)
        return "It is cancelled." if view.ended else "It is being cancelled: what runs is asked to stop."

    return act(do, url_for(".show", workflow_id=workflow_id))


@bp.get("/<workflow_id>/replay")
@operators.at_least("operator")
def plan_replay(workflow_id: str) -> ResponseReturnValue:
    """What running again from a node would run."""
    node = request.args.get("node", "")
    tenant = operators.own_tenant()
    view = fleet().workflows.get(workflow_id, tenant)
    try:
        again = fleet().workflows.replayable(workflow_id, node, tenant)
    except Conflict as error:
        return act(partial(_refuse, error), url_for(".show", workflow_id=workflow_id))
    return render_template("console/workflow_replay.html", flow=view, node=node, again=again)


@bp.post("/<workflow_id>/replay")
@operators.at_least("operator")
def replay(workflow_id: str) -> ResponseReturnValue:
    """Run a node and everything after it again."""
    node = request.form.get("node", "")

    def do() -> str:
        view = acting.replay(fleet(), operators.operator(), workflow_id, node)
        return f"It runs again from {node}: round {view.round}."

    return act(do, url_for(".show", workflow_id=workflow_id))


def _refuse(error: Conflict) -> NoReturn:
    raise error
