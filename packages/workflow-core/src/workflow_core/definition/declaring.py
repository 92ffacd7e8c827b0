"""What all parts of `Workflow` that declare functions share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import IntEnum
from types import FrameType
from typing import Any, Generic, TypeVar, cast

from workflow_core.definition.contents import Contents
from workflow_core.definition.outlets import Outlets
from workflow_core.definition.registration import Site
from workflow_core.definition.retry import Retry
from workflow_core.definition.statuses import Statuses
from workflow_core.errors import DefinitionError, UnknownStatusError

__all__ = ["Declaring"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class Declaring(Generic[DataT, StatusT]):
    """Their state, which `Workflow` fills in, and how they name the place of a declaration."""

    name: str
    retry: Retry
    _statuses: Statuses[StatusT]
    _contents: Contents
    _outlets: Outlets

    def _site(self, verb: str, status: object, frame: FrameType) -> Site:
        try:
            known = self._statuses.parse(status)
        except UnknownStatusError as error:
            raise DefinitionError(
                f"{verb}(…): {error.message}", workflow=self.name, hint=error.hint
            ) from None
        return Site(cast(Any, self), verb, known, frame)

    def _targets(self, to: Collection[StatusT]) -> Sequence[StatusT]:
        return self._statuses.parse_all(to, "to")
