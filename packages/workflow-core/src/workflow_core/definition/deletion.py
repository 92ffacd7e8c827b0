"""The part of `Workflow` that says what may stay of a run's data when it is deleted."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

from workflow_core.definition.bodies import (
    UnfitBodyError,
    is_async,
    is_generator,
    name_of,
    parameters,
    place_of,
)
from workflow_core.definition.declaring import Declaring
from workflow_core.errors import DefinitionError

__all__ = ["DeclaresDeletion"]

DataT = TypeVar("DataT")
StatusT = TypeVar("StatusT", bound=IntEnum)


class DeclaresDeletion(Declaring[DataT, StatusT]):
    """Base of `Workflow`."""

    kept: Callable[[DataT], DataT | None] | None = None
    """Given a run's data: what may stay of it. None: nothing stays."""

    def keep_after_deletion(
        self, body: Callable[[DataT], DataT | None], /
    ) -> Callable[[DataT], DataT | None]:
        """Let the decorated function say what stays of a run's data when it is deleted.

        It is given the data and answers what may be kept, or None for nothing. It is the place to
        delete what stands elsewhere, too; it may be called again, and what it raises leaves the
        run as it was. Without one nothing stays.

        Raises:
            DefinitionError: there is one already, or it cannot be called with the data alone.
        """
        told = f"keep_after_deletion, {name_of(body)} ({place_of(body)})"
        if self._contents.frozen:
            raise DefinitionError(f"{told}: the workflow is in use", workflow=self.name)
        if self.kept is not None:
            raise DefinitionError(f"{told}: there is one already", workflow=self.name)
        if is_async(body) or is_generator(body):
            raise DefinitionError(f"{told}: it must be a plain function", workflow=self.name)
        try:
            parameters(body, most=1, given="the data alone")
        except UnfitBodyError as error:
            raise DefinitionError(
                f"{told} {error.problem}", workflow=self.name, hint=error.hint
            ) from error.__cause__
        self.kept = body
        return body

    def after_deletion(self, data: Any) -> Any:
        """What stays of this data; None: nothing."""
        return None if self.kept is None else self.kept(data)
