"""Payloads: frozen pydantic models, JSON on the wire, with fields that are encrypted there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError, core_schema

from jobs.engine.errors import InvalidPayload, MissingEncryptionKey, PayloadTooLarge
from jobs.engine.log_redaction import strike
from jobs.engine.placeholders import Draft, holds_result

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

MAX_PAYLOAD_BYTES = 1024 * 1024
NO_KEY = "a secret field needs ENCRYPTION_KEYS to be set (Fernet keys, newest first)"
T = TypeVar("T")
P = TypeVar("P", bound="Payload")
Cipher = Callable[[str], str]


class _Drafting(ModelMetaclass):
    """Calling a payload class with results of a workflow's nodes gives a draft; reading payloads costs nothing more."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        if holds_result(values):
            return Draft(cls, values)  # type: ignore[arg-type]
        return super().__call__(*args, **values)


class Payload(BaseModel, metaclass=_Drafting):
    """The arguments of a job: immutable, no unknown fields, plain JSON types."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", allow_inf_nan=False)


class Secret(Generic[T]):
    """A field that is encrypted in Redis and never printed: `api_key: Secret[str]`, read with `.reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself; where it is printed or logged later, it is struck out."""
        if isinstance(self._value, str):
            strike(self._value)
        return self._value

    def __repr__(self) -> str:
        return "Secret(**********)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: pydantic.GetCoreSchemaHandler) -> Any:
        (inner,) = getattr(source, "__args__", (str,))
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(inner)

        def read(value: Any, info: core_schema.ValidationInfo) -> Secret[Any]:
            if isinstance(value, Secret):
                return value
            if isinstance(value, dict) and set(value) == {"$secret"}:
                decrypt = (info.context or {}).get("decrypt")
                if decrypt is None:
                    raise ValueError("an encrypted value can't be read here")
                return cls(adapter.validate_json(decrypt(value["$secret"])))
            try:
                return cls(adapter.validate_python(value))
            except ValidationError:
                raise ValueError(f"must be {getattr(inner, '__name__', inner)}") from None

        def write(value: Secret[Any], info: core_schema.SerializationInfo) -> Any:
            encrypt = (info.context or {}).get("encrypt")
            if encrypt is None:
                return "**********"
            return {"$secret": encrypt(adapter.dump_json(value.reveal()).decode())}

        return core_schema.with_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(write, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: pydantic.GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


def has_secrets(model: type[Payload]) -> bool:
    """Whether a payload, or a model within it, has a field that is encrypted."""
    return '"writeOnly": true' in json.dumps(model.model_json_schema())


def dump(payload: Payload, encrypt: Cipher | None) -> str:
    """The payload as the JSON text that is signed and stored.

    Raises PayloadTooLarge over 1 MiB, MissingEncryptionKey for a secret field without a key, InvalidPayload.
    """
    try:
        text = payload.__pydantic_serializer__.to_json(payload, context={"encrypt": encrypt or _no_key})
    except PydanticSerializationError as error:
        if MissingEncryptionKey.__name__ in str(error):
            raise MissingEncryptionKey(NO_KEY) from None
        raise InvalidPayload("the payload can't be written as JSON in UTF-8") from None
    if len(text) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(f"the payload is over {MAX_PAYLOAD_BYTES} bytes: store the data and pass its key")
    return text.decode()


def load(model: type[P], text: str, decrypt: Cipher | None) -> P:
    """The payload of a JSON text. Raises InvalidPayload."""
    try:
        return model.model_validate_json(text, context={"decrypt": decrypt})
    except ValidationError as error:
        raise invalid(error) from None


def validate(model: type[P], values: Any) -> P:
    """A payload from a payload or a mapping. Raises InvalidPayload."""
    if isinstance(values, model):
        return values
    if isinstance(values, Payload):
        raise InvalidPayload(f"expected {model.__name__}, got {type(values).__name__}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidPayload:
    """A pydantic error without the input it quotes, which may hold a secret."""
    problems = [
        {"field": ".".join(str(part) for part in problem["loc"]), "message": problem["msg"]}
        for problem in error.errors(include_input=False, include_url=False, include_context=False)
    ]
    summary = "; ".join(f"{problem['field'] or 'payload'}: {problem['message']}" for problem in problems[:5])
    return InvalidPayload(f"the payload does not fit: {summary}", problems)


def _no_key(_: str) -> str:
    raise MissingEncryptionKey(NO_KEY)
