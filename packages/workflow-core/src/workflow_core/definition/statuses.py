"""A workflow's statuses: the user's enum, and the way from what a caller gives to one of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Generic, TypeVar

from workflow_core.errors import DefinitionError, UnknownStatusError

__all__ = ["Statuses"]

StatusT = TypeVar("StatusT", bound=IntEnum)

_LARGEST = 2**31 - 1  # what a database's plain integer column holds


class Statuses(Generic[StatusT]):
    """The members of one enum, by number.

    Members of different IntEnums are equal and hash alike where their numbers are, so membership is
    always a question of the very type, never of ``in``.

    Args:
        enum: the user's.
        workflow: the workflow's name, for errors.

    Raises:
        DefinitionError: it is no IntEnum, is empty, or has a number out of range.
    """

    def __init__(self, enum: type[StatusT], workflow: str) -> None:
        if not _is_int_enum(enum):
            raise DefinitionError(
                f"the statuses must be an IntEnum class, not {enum!r}", workflow=workflow
            )
        if not len(enum):
            raise DefinitionError(f"{enum.__name__} has no members", workflow=workflow)
        for status in enum:
            if not 1 <= status <= _LARGEST:
                raise DefinitionError(
                    f"{enum.__name__}.{status.name} is {int(status)}",
                    workflow=workflow,
                    hint=f"Statuses are stored as numbers from 1 to {_LARGEST}",
                )
        self.enum = enum
        self.name = enum.__name__
        self._workflow = workflow
        self._by_number: dict[int, StatusT] = {int(status): status for status in enum}

    def of_number(self, number: int) -> StatusT:
        """The member with this number.

        Raises:
            UnknownStatusError: there is none.
        """
        try:
            return self._by_number[number]
        except KeyError:
            raise UnknownStatusError(
                f"no {self.name} has the number {number}",
                workflow=self._workflow,
                hint=f"There are {self._listed()}; does newer code serve this workflow elsewhere?",
            ) from None

    def parse(self, status: object) -> StatusT:
        """The same value, if it is a member of this very enum.

        Raises:
            UnknownStatusError: it is something else, be it equal to a member.
        """
        if type(status) is self.enum:
            return status
        raise UnknownStatusError(
            f"{_shown(status)} is no {self.name}", workflow=self._workflow, hint=self._near(status)
        )

    def parse_all(self, statuses: Iterable[object], role: str) -> tuple[StatusT, ...]:
        """Each of them, without doubles.

        Raises:
            DefinitionError: one is no member of this very enum; ``role`` says what it was to be.
        """
        if isinstance(statuses, IntEnum | str) or not isinstance(statuses, Iterable):
            raise DefinitionError(
                f"{role} must be a collection of {self.name}, not {_shown(statuses)}",
                workflow=self._workflow,
            )
        try:
            return tuple(dict.fromkeys(self.parse(status) for status in statuses))
        except UnknownStatusError as error:
            raise DefinitionError(
                f"{role}: {error.message}", workflow=self._workflow, hint=error.hint
            ) from None

    def _near(self, given: object) -> str:
        if isinstance(given, str):
            name = given.rpartition(".")[2].strip().upper()
            near = difflib.get_close_matches(name, list(self.enum.__members__), n=1)
            if near:
                return f"Did you mean {self.name}.{near[0]}?"
        if type(given) is int and given in self._by_number:
            return f"Did you mean {self.name}.{self._by_number[given].name}?"
        return f"There are {self._listed()}"

    def _listed(self) -> str:
        return ", ".join(f"{status.name} ({int(status)})" for status in self.enum)


def _is_int_enum(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, IntEnum)


def _shown(value: object) -> str:
    if isinstance(value, IntEnum):
        return f"{type(value).__name__}.{value.name}"
    return value.__qualname__ if isinstance(value, type) else repr(value)
