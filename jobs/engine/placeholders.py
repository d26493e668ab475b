"""Placeholders: in a payload, what a node of a workflow returns and nobody knows before it has run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import PlainSerializer, create_model

from jobs.engine.errors import InvalidPayload

if TYPE_CHECKING:
    from jobs.engine.payloads import Payload

Path = tuple[str | int, ...]
NOTHING: Any = object()
DEEPEST = 20


class Result:
    """What a node will return, or a part of it: `extract.result["rows"][0]`."""

    __slots__ = ("default", "node", "path")
    __iter__ = None

    def __init__(self, node: str, path: Path = (), default: Any = NOTHING) -> None:
        self.node, self.path, self.default = node, path, default

    def __getitem__(self, key: str | int) -> Result:
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise InvalidPayload("a part of a result is named by a text or a number")
        return Result(self.node, (*self.path, key), self.default)

    def or_else(self, value: Any) -> Result:
        """What is passed instead when the node did not complete: JSON."""
        return Result(self.node, self.path, value)

    def __format__(self, spec: str) -> NoReturn:
        raise InvalidPayload(f"the result of {self.node} is not known yet: pass it as a field of its own")

    def __repr__(self) -> str:
        return f"Result({self.node!r}){''.join(f'[{key!r}]' for key in self.path)}"


class Draft:
    """A payload with results in it: what `MyPayload(rows=node.result)` gives."""

    __slots__ = ("model", "values")

    def __init__(self, model: type[Payload], values: dict[str, Any]) -> None:
        self.model, self.values = model, values


@dataclass(frozen=True, slots=True)
class Input:
    """A place in the payload and the result that belongs there."""

    place: Path
    result: Result


def holds_result(values: Mapping[str, Any]) -> bool:
    """Whether a field is a result, or a list that begins with one; for calls of payload classes, so it is quick."""
    for value in values.values():
        if isinstance(value, Result) or (type(value) is list and value and isinstance(value[0], Result)):
            return True
    return False


def split(model: type[Payload], given: Payload | Draft | Mapping[str, Any]) -> tuple[Any, list[Input]]:
    """A payload or its values, and its inputs. Fields with inputs can't be read: they raise InvalidPayload.

    All other fields are validated like those of any payload. Raises InvalidPayload, pydantic's ValidationError.
    """
    if isinstance(given, Draft) and given.model is not model:
        raise InvalidPayload(f"expected {model.__name__}, got {given.model.__name__}")
    values = given.values if isinstance(given, Draft) else given
    inputs = list(_inputs(values, ())) if isinstance(values, Mapping) else []
    if not inputs or not isinstance(values, Mapping):
        return values, []
    fields = {str(each.place[0]) for each in inputs}
    if unknown := fields - set(model.model_fields):
        raise InvalidPayload(f"{model.__name__} has no field {', '.join(sorted(unknown))}")
    rest = {name: value for name, value in values.items() if name not in fields}
    payload = _partial(model, frozenset(fields)).model_validate(rest)
    for name in fields:
        payload.__dict__[name] = Pending(name, _shape(values[name]))
    return payload, inputs


class Pending:
    """The value of such a field until its job runs; whoever asks for it is told that it is not there yet."""

    __slots__ = ("_name", "_shape")

    def __init__(self, name: str, shape: Any) -> None:
        self._name, self._shape = name, shape

    def _refuse(self, *_: Any) -> NoReturn:
        raise InvalidPayload(f"{self._name} is not known before the workflow runs: unique= and topics= can't use it")

    __bool__ = __eq__ = __format__ = __getitem__ = __iter__ = __len__ = __str__ = _refuse
    __hash__ = _refuse


@lru_cache(256)
def _partial(model: type[Payload], fields: frozenset[str]) -> type[Payload]:
    """The model with nothing known of these fields."""
    unknown = {name: (Annotated[Any, PlainSerializer(lambda pending: pending._shape)], None) for name in fields}
    made: type[Payload] = create_model(model.__name__, __base__=model, **unknown)  # type: ignore[call-overload]
    return made


def _inputs(value: Any, place: Path) -> Iterator[Input]:
    if isinstance(value, Result):
        yield Input(place, value)
    elif len(place) < DEEPEST and isinstance(value, Mapping):
        for key, each in value.items():
            yield from _inputs(each, (*place, str(key)))
    elif len(place) < DEEPEST and isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _inputs(each, (*place, number))


def _shape(value: Any) -> Any:
    """The value with nothing where results belong."""
    if isinstance(value, Result):
        return None
    if isinstance(value, Mapping):
        return {str(key): _shape(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shape(each) for each in value]
    return deepcopy(value)
