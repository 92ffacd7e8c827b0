"""How values of one type become JSON and come back: by msgspec, or by pydantic for its models."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_origin

import msgspec
from msgspec import inspect

from workflow_core.errors import DefinitionError

__all__ = ["Format", "format_of"]

_SUPPORTED = "dataclasses, msgspec Structs, attrs classes, pydantic models and TypedDicts"
# Only these shapes of msgspec's messages are passed on: others can hold a value, or a user's text.
_PLAIN_MESSAGE = re.compile(
    r"(Expected `[^`]*`(, got `[^`]*`)?|Object missing required field `[^`]*`)"
    r"( - at `[^`]*`)?"
)


@dataclass(frozen=True, slots=True)
class Format:
    """The two ways for one type."""

    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]
    explain: Callable[[Exception], str]
    """Where and why a value was refused, in words that hold none of it; "" if only it could say."""
    tags: frozenset[str] = frozenset()
    """Keys whose values tell the kind of an object in a union."""
    plain: Callable[[Any], Any] | None = None
    """The value in lists, dicts and scalars, to look for NaN and infinities: these are written as
    null, which some types read as None; None for a type that always notices."""


def format_of(data_type: Any) -> Format:
    """The format for a type.

    Raises:
        DefinitionError: the type, or one within it, has no JSON form that keeps everything.
    """
    pydantic = sys.modules.get("pydantic")  # who has a model has imported it
    if pydantic is not None and _is_class_of(data_type, pydantic.BaseModel):
        return _pydantic_format(data_type, pydantic)
    return _msgspec_format(data_type)


def _is_class_of(value: Any, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base)


def _pydantic_format(model: Any, pydantic: Any) -> Format:
    if tuple(int(part) for part in pydantic.VERSION.split(".")[:2]) < (2, 11):
        raise DefinitionError(
            f"data of pydantic models needs pydantic 2.11 or later, not {pydantic.VERSION}"
        )

    # by name and not by alias: aliases for reading and for writing may differ
    def write(value: Any) -> bytes:
        text: str = value.model_dump_json(by_alias=False, round_trip=True, warnings="error")
        return text.encode()

    def read(stored: bytes) -> Any:
        return model.model_validate_json(stored, by_alias=False, by_name=True)

    def explain(error: Exception) -> str:
        if not isinstance(error, pydantic.ValidationError):
            return ""
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = first["loc"][0] if first["loc"] else ""
        # further parts of the path can be keys of a dict, which are data
        return f"{first['type']} at {field}" if field in model.model_fields else str(first["type"])

    return Format(write, read, explain, plain=lambda value: value.model_dump())


def _msgspec_format(data_type: Any) -> Format:
    name = getattr(data_type, "__name__", str(data_type))
    try:
        read = msgspec.json.Decoder(data_type).decode
        types = list(_all_types(inspect.type_info(data_type)))
    except NameError as error:
        raise DefinitionError(
            f"the type of a field of {name} cannot be found: no name {error.name!r}",
            hint='If it is imported under "if TYPE_CHECKING", import it for real;'
            " a type that a field names must stand in its module",
        ) from error
    except TypeError as error:
        raise DefinitionError(f"{name} has no JSON form: {error}") from error
    for inner in types:
        problem = _problem(inner)
        if problem:
            raise DefinitionError(f"{name} has no JSON form that keeps everything: {problem}")
    return Format(
        write=msgspec.json.Encoder().encode,
        read=read,
        explain=_explain,
        tags=frozenset(
            inner.tag_field
            for inner in types
            if isinstance(inner, inspect.StructType) and inner.tag_field
        ),
        plain=msgspec.to_builtins if any(map(_may_hide_a_float, types)) else None,
    )


def _explain(error: Exception) -> str:
    message = str(error)
    return message if _PLAIN_MESSAGE.fullmatch(message) else ""


def _all_types(root: inspect.Type) -> Iterator[inspect.Type]:
    """This type and all within it, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(value, inspect.Field):
            waiting.append(value.type)
        elif isinstance(value, inspect.Type) and id(value) not in seen:
            seen.add(id(value))
            yield value
            waiting.extend(getattr(value, field) for field in value.__struct_fields__)


def _problem(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.CustomType):
        return f"it holds {kind.cls!r}; it can hold {_SUPPORTED}, or give the workflow a codec"
    if isinstance(kind, inspect.StructType) and kind.array_like:
        return f"{kind.cls.__name__} is array_like, so what newer code adds to it would be lost"
    if isinstance(kind, inspect.DataclassType):
        cls = get_origin(kind.cls) or kind.cls
        for attribute in getattr(cls, "__attrs_attrs__", ()):
            if attribute.name.startswith("_"):
                return (
                    f"the private {cls.__name__}.{attribute.name} of an attrs class is not written"
                )
    return ""


def _may_hide_a_float(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        inner = {type(choice) for choice in kind.types}
        return inspect.NoneType in inner and inspect.FloatType in inner
    return isinstance(kind, inspect.AnyType)
