"""What the forms of the console's pages send: filters of lists, read into the models of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from webapp.errors import Problem

ModelT = TypeVar("ModelT", bound=BaseModel)


def asked(model: type[ModelT], also: Mapping[str, str] | None = None) -> ModelT:
    """The page's query as a model; a field that was left empty is not given. Raises a 422 problem naming the fields."""
    known = {name: value for name, value in request.args.items() if value.strip() and name in model.model_fields}
    try:
        return model.model_validate({**known, **(also or {})})
    except ValidationError as error:
        names = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        raise Problem(422, f"Not understood: {', '.join(names) or 'the address'}.") from None


def is_filtered(value: BaseModel, *apart: str) -> bool:
    """Whether anything is asked for besides the page and the fields named."""
    return bool(value.model_dump(exclude_defaults=True, exclude={"limit", "cursor", *apart}))
