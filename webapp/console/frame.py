"""The frame of every page of the console: its navigation, who looks at it, and how an action is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from apiflask import APIBlueprint, APIFlask
from flask import current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from jobs.engine import BrokerUnavailable, FleetError, NotFound
from jobs.engine.audit_log import Actor
from webapp import operators, sessions
from webapp.services import settings

HOME = "/admin/queues"
NAVIGATION: tuple[tuple[tuple[str, str], ...], ...] = (
    (("overview", "Overview"),),
    (("jobs", "Jobs"), ("dead_letters", "Dead letters"), ("schedules", "Schedules"), ("workflows", "Workflows")),
    (("lanes", "Queues and lanes"), ("workers", "Workers"), ("breakers", "Breakers")),
    (("audit", "Audit log"),),
)
"""Groups of families and their names; one is shown once there is a view `index` that who looks may see."""


@dataclass(frozen=True)
class Link:
    """An entry of the navigation."""

    text: str
    url: str
    is_here: bool


class Frame:
    """What the templates know as `console`; it is asked while a page is rendered."""

    @property
    def navigation(self) -> list[list[Link]]:
        """The pages there are, in groups."""
        groups = [[_link(family, text) for family, text in group if _is_there(family)] for group in NAVIGATION]
        return [group for group in groups if group]

    @property
    def who(self) -> Actor | None:
        """Who looks; None for a stranger, who may see an error page."""
        return operators.known()

    @property
    def home(self) -> str:
        """The first page."""
        return HOME

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be changed here, whoever asks."""
        return settings().console_read_only

    @property
    def csrf_token(self) -> str:
        """For every form that posts."""
        return sessions.csrf_token()

    def here(self, **changed: Any) -> str:
        """The address of this page with some of its query changed; what is None goes."""
        values: Mapping[str, Any] = {**request.args.to_dict(), **changed}
        query = urlencode({name: str(value) for name, value in values.items() if value is not None})
        return quote(request.path) + (f"?{query}" if query else "")


def init_app(app: APIFlask) -> None:
    """Have every template know `console`."""
    app.jinja_env.globals["console"] = Frame()


def blueprint(family: str, path: str = "") -> APIBlueprint:
    """A family's blueprint: `console_FAMILY`, below /admin/queues; its main page is its view `index`.

    Each view says who may with `@operators.at_least` right below its route.
    """
    made = APIBlueprint(f"console_{family}", __name__, url_prefix=HOME + path, enable_openapi=False)
    made.before_request(operators.admit_where_unsaid)
    return made


def act(do: Callable[[], str], back: str) -> ResponseReturnValue:
    """Do what a form asks for and go back to the page, which then says what happened: `do` returns that sentence.

    What the engine refuses is said there too; what is gone, or another tenant's, and Redis' absence are error pages.
    """
    try:
        flash(do(), "done")
    except (BrokerUnavailable, NotFound):
        raise
    except FleetError as error:
        flash(_sentence(str(error)), "problem")
    return redirect(back, 303)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _is_there(family: str) -> bool:
    view = current_app.view_functions.get(f"console_{family}.index")
    return view is not None and operators.may_see(view)


def _link(family: str, text: str) -> Link:
    return Link(text, url_for(f"console_{family}.index"), request.blueprint == f"console_{family}")
