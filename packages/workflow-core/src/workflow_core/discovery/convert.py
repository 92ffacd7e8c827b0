"""Turns one raw value, from a file, the environment or code, into the type that a setting has."""

from __future__ import annotations

import collections.abc as abc
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from workflow_core.discovery.durations import parse_duration
from workflow_core.discovery.masking import choice_label, mask
from workflow_core.discovery.problems import near_match
from workflow_core.ports import Secret

__all__ = ["MismatchError", "UnsupportedTypeError", "convert", "holds_secret"]


class MismatchError(Exception):
    """The value is not what the setting takes.

    Attributes:
        expected: what it takes, such as "a whole number".
        kind: what it got, by its kind alone: "text".
        told: the value itself or a near match, where that helps; never to be told of a secret.
    """

    def __init__(self, expected: str, raw: object, *, told: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.kind = _kind(raw)
        self.told = told or self.kind

    def text(self, *, hide_value: bool) -> str:
        """The sentence for a person."""
        return f"expected {self.expected}, got {self.kind if hide_value else self.told}"


class UnsupportedTypeError(TypeError):
    """The setting's own type is none that can be configured: a mistake of the adapter's author."""


def convert(raw: object, wanted: Any, *, lax: bool) -> object:
    """The raw value as ``wanted``.

    Args:
        raw: what TOML or the environment gave, or a value that is of the wanted type already.
        wanted: the setting's type.
        lax: texts are read as numbers, lists and so on, since the environment has nothing else.

    Raises:
        MismatchError: it is something else.
        UnsupportedTypeError: no raw value could ever be turned into this type.
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return _union(raw, arguments, lax)
    if origin is Literal:
        return _choice(raw, {_literal_label(choice): choice for choice in arguments}, lax)
    if origin in _LISTS:
        return _list(raw, origin, arguments, lax)
    if origin in (dict, abc.Mapping):
        return _table(raw, arguments, lax)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _choice(raw, {choice_label(member): member for member in wanted}, lax)
    if isinstance(wanted, type) and wanted in _PLAIN:
        return _PLAIN[wanted](raw, lax)
    raise UnsupportedTypeError(f"{_type_name(wanted)} is no type for a setting")


def holds_secret(wanted: Any) -> bool:
    """Whether a value of this type has a `Secret` anywhere in it."""
    return wanted is Secret or any(holds_secret(argument) for argument in get_args(wanted))


def _text(raw: object, _lax: bool) -> str:
    if not isinstance(raw, str):
        raise MismatchError("text", raw)
    return raw


def _secret(raw: object, _lax: bool) -> Secret:
    if isinstance(raw, Secret):
        return raw
    return Secret(_text(raw, _lax))


def _path(raw: object, _lax: bool) -> Path:
    if isinstance(raw, str | Path):
        return Path(raw)
    raise MismatchError("a path", raw)


def _whole_number(raw: object, lax: bool) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if lax and isinstance(raw, str):
        with suppress(ValueError):
            return int(raw)
    raise MismatchError("a whole number", raw)


def _number(raw: object, lax: bool) -> float:
    number = math.nan
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        number = float(raw)
    elif lax and isinstance(raw, str):
        with suppress(ValueError):
            number = float(raw)
    if not math.isfinite(number):
        raise MismatchError("a number", raw)
    return number


_TRUTHS = {"true": True, "yes": True, "on": True, "1": True}
_TRUTHS |= {"false": False, "no": False, "off": False, "0": False}


def _truth(raw: object, lax: bool) -> bool:
    if isinstance(raw, bool):
        return raw
    if lax and isinstance(raw, str) and raw.lower() in _TRUTHS:
        return _TRUTHS[raw.lower()]
    raise MismatchError("true or false", raw)


def _duration(raw: object, _lax: bool) -> timedelta:
    if isinstance(raw, timedelta):
        return raw
    try:
        return parse_duration(_text(raw, _lax))
    except (ValueError, MismatchError):
        expected = "a duration such as '10s', '250ms' or '1h30m'"
        raise MismatchError(expected, raw, told=_told(raw)) from None


_PLAIN: dict[type, Callable[[object, bool], object]] = {
    str: _text,
    Secret: _secret,
    Path: _path,
    int: _whole_number,
    float: _number,
    bool: _truth,
    timedelta: _duration,
}


def _choice(raw: object, choices: Mapping[str, object], lax: bool) -> object:
    for label, choice in choices.items():
        by_label = raw == label and (isinstance(choice, str | Enum) or lax)
        if by_label or (type(raw) is type(choice) and raw == choice):
            return choice
    listed = ", ".join(map(repr, choices))
    near = near_match(raw, choices) if isinstance(raw, str) else ""
    raise MismatchError(f"one of {listed}", raw, told=_told(raw) + near)


def _literal_label(choice: object) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _union(raw: object, members: Sequence[Any], lax: bool) -> object:
    if NoneType in members and (raw is None or (lax and raw == "")):
        return None
    mismatches: list[MismatchError] = []
    for member in members:
        if member is not NoneType:
            try:
                return convert(raw, member, lax=lax)
            except MismatchError as mismatch:
                mismatches.append(mismatch)
    if len(mismatches) == 1:
        raise mismatches[0]
    raise MismatchError(" or ".join(mismatch.expected for mismatch in mismatches), raw)


_LISTS: dict[Any, Callable[[list[object]], object]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    abc.Sequence: tuple,
}


def _list(raw: object, origin: Any, arguments: Sequence[Any], lax: bool) -> object:
    if origin is tuple and arguments[1:] != (...,):
        raise UnsupportedTypeError("a tuple of a fixed length is no type for a setting")
    if lax and isinstance(raw, str):
        raw = [item.strip() for item in raw.split(",") if item.strip()]
    if not isinstance(raw, list | tuple | set | frozenset):
        raise MismatchError("a list", raw)
    return _LISTS[origin](
        [_item(item, arguments[0], lax, f"item {number}") for number, item in enumerate(raw, 1)]
    )


def _table(raw: object, arguments: Sequence[Any], lax: bool) -> object:
    if isinstance(raw, str) and lax:
        raise MismatchError("a table, which only a file can hold", raw)
    if not isinstance(raw, Mapping):
        raise MismatchError("a table", raw)
    return {_text(key, lax): _item(item, arguments[1], lax, str(key)) for key, item in raw.items()}


def _item(raw: object, wanted: Any, lax: bool, place: str) -> object:
    try:
        return convert(raw, wanted, lax=lax)
    except MismatchError as mismatch:
        mismatch.expected = f"{mismatch.expected} as {place}"
        raise


_KINDS = {
    bool: "a truth value",
    int: "a whole number",
    float: "a number",
    str: "text",
    Secret: "a secret",
    list: "a list",
    dict: "a table",
    NoneType: "nothing",
}


def _kind(raw: object) -> str:
    return _KINDS.get(type(raw)) or f"a {type(raw).__name__}"


def _told(raw: object) -> str:
    return mask(repr(raw)) if isinstance(raw, str | int | float) else _kind(raw)


def _type_name(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)
