"""The attributes of the data that runs are found by, as a workflow declares them.

They are read from the data whenever it is saved: by the trigger, and with each answer that saves
it. So a declaration may change under runs that are under way; each run follows at its next answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import Enum
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias, TypeVar, is_typeddict

from workflow_core.errors import DefinitionError, InputError, PayloadError
from workflow_core.model import Between, SearchValue, Wanted
from workflow_core.model.texts import is_storable

__all__ = ["Attributes", "Declared", "check_wanted"]

DataT = TypeVar("DataT")

Declared: TypeAlias = Sequence[str] | Mapping[str, Callable[[DataT], SearchValue | None]]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST = 16  # attributes of a workflow: each is a row in an index
_TEXT_LIMIT = 255  # characters; what every database can index
_NUMBERS = range(-(2**63), 2**63)


class Attributes:
    """Reads the declared attributes. Any thread.

    Args:
        workflow: its name, for errors.
        data_type: whose fields may be named.
        declared: names of fields, or functions of the data by name.

    Raises:
        DefinitionError: a name cannot be one, a field is not there, or there are too many.
    """

    def __init__(self, workflow: str, data_type: Any, declared: Declared[Any]) -> None:
        self._workflow = workflow
        if isinstance(declared, str):
            raise self._refusal(f"search is a list of names, not the text {declared!r}")
        if isinstance(declared, Mapping):
            self._read: Mapping[str, Callable[[Any], Any]] = dict(declared)
        else:
            self._check_fields(data_type, declared)
            of = itemgetter if is_typeddict(data_type) else attrgetter
            self._read = {name: of(name) for name in declared}
        self._check_names(self._read)

    def __bool__(self) -> bool:
        return bool(self._read)

    @property
    def names(self) -> Sequence[str]:
        """In the order of their declaration."""
        return list(self._read)

    def of(self, data: Any, run_id: str = "") -> dict[str, SearchValue]:
        """The attributes of this data; one that is None is left out.

        Raises:
            PayloadError: a value is none that can be searched for; the message tells its type only.
        """
        found: dict[str, SearchValue] = {}
        for name, read in self._read.items():
            try:
                value = read(data)
                if value is not None:
                    found[name] = _stored(value)
            except Exception as error:
                # only the type of a function's own error is told: its words could hold data
                told = error.message if isinstance(error, InputError) else type(error).__name__
                raise PayloadError(
                    f"search attribute {name!r} cannot be read: {told}",
                    workflow=self._workflow,
                    run_id=run_id,
                    hint=error.hint if isinstance(error, InputError) else "",
                ) from error
        return found

    def _check_fields(self, data_type: Any, names: Iterable[str]) -> None:
        known = _fields_of(data_type)
        for name in names:
            if known is not None and name not in known:
                near = get_close_matches(str(name), known, n=1)
                raise self._refusal(
                    f"search names {name!r}, which is no field of {data_type.__name__}",
                    f"Did you mean {near[0]!r}?"
                    if near
                    else 'Name a field, or write {"name": lambda data: …}',
                )

    def _check_names(self, names: Mapping[str, object]) -> None:
        if len(names) > _MOST:
            raise self._refusal(f"search has {len(names)} attributes, {_MOST} are allowed")
        for name, read in names.items():
            if not _is_name(name):
                raise self._refusal(
                    f"{name!r} cannot name a search attribute",
                    "Use up to 64 lower-case letters, digits and underscores, a letter first",
                )
            if not callable(read):
                raise self._refusal(
                    f"search attribute {name!r} is no function of the data",
                    f'Write {{"{name}": lambda data: …}}',
                )

    def _refusal(self, problem: str, hint: str = "") -> DefinitionError:
        return DefinitionError(problem, workflow=self._workflow, hint=hint)


def check_wanted(wanted: Mapping[str, Wanted]) -> dict[str, Wanted]:
    """What is asked for, as it is stored.

    Raises:
        InputError: a name or a value that no run can have, or an empty range.
    """
    return {_name(name): _wanted(name, value) for name, value in wanted.items()}


def _name(name: str) -> str:
    if not _is_name(name):
        raise InputError(f"{name!r} cannot name a search attribute")
    return name


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _wanted(name: str, value: Wanted) -> Wanted:
    try:
        if not isinstance(value, Between):
            return _stored(value)
        low = None if value.at_least is None else _stored(value.at_least)
        high = None if value.below is None else _stored(value.below)
    except InputError as error:
        raise InputError(f"search for {name!r}: {error.message}", hint=error.hint) from None
    if low is None and high is None:
        raise InputError(f"search for {name!r}: a range without either end")
    if low is not None and high is not None and type(low) is not type(high):
        raise InputError(f"search for {name!r}: the ends of the range are of two types")
    return Between(at_least=low, below=high)


def _stored(value: object) -> SearchValue:
    """The value as every store keeps it. Raises InputError; never tells the value."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool | int):
        if int(value) not in _NUMBERS:
            raise InputError("a number of more than 64 bits cannot be searched for")
        return int(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InputError("a naive time cannot be searched for", hint="Make it aware: UTC")
        return value.astimezone(UTC)
    if not isinstance(value, str):
        raise InputError(
            f"a value of type {type(value).__name__} cannot be searched for",
            hint="Give a text, a whole number, an aware datetime or None",
        )
    if len(value) > _TEXT_LIMIT:
        raise InputError(
            f"a text of {len(value)} characters cannot be searched for",
            hint=f"Cut it to {_TEXT_LIMIT}",
        )
    if not is_storable(value):
        raise InputError("a text with NUL characters or lone surrogates cannot be searched for")
    return value


def _fields_of(data_type: Any) -> Sequence[str] | None:
    """The names of the type's fields; None: it does not tell."""
    if is_dataclass(data_type):
        return [field.name for field in fields(data_type)]
    for known in ("__struct_fields__", "model_fields"):
        names = getattr(data_type, known, None)
        if names is not None:
            return list(names)
    attrs = getattr(data_type, "__attrs_attrs__", None)
    if attrs is not None:
        return [attribute.name for attribute in attrs]
    return list(data_type.__annotations__) if is_typeddict(data_type) else None
