"""From a body and the place where it is registered to what the definition keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from types import FrameType
from typing import TYPE_CHECKING, Any

from workflow_core.definition.annotations import Answers, Scope, read_answers, read_payload
from workflow_core.definition.answers import DIRECTIVES
from workflow_core.definition.bodies import (
    Body,
    UnfitBodyError,
    is_async,
    is_generator,
    name_of,
    parameters,
    place_of,
)
from workflow_core.errors import DefinitionError

if TYPE_CHECKING:
    from workflow_core.definition.workflow import Workflow

__all__ = ["Site"]


class Site:
    """One place where a body is registered, e.g. ``orders.step(Status.CREATED)`` in a module.

    Args:
        workflow: the `Workflow` itself.
        verb: the method of the workflow, ``step`` or ``add_step`` and so on.
        status: what the body consumes.
        frame: the caller's, whose names annotations may use.
    """

    def __init__(
        self, workflow: Workflow[Any, Any], verb: str, status: IntEnum, frame: FrameType
    ) -> None:
        names = {**frame.f_globals, **frame.f_locals}
        self._variable = next((n for n, value in names.items() if value is workflow), "workflow")
        self._workflow = workflow.name
        self._verb = verb
        self._status = status
        self._named = f"{type(status).__name__}.{status.name}"
        self._frame = frame

    def declared(self, body: Body) -> dict[str, Any]:
        """The fields of a `Consumer` whose annotation says what it may answer.

        Raises:
            DefinitionError: the body or its annotation cannot be used.
        """
        try:
            self._check(body)
            answers = read_answers(body, self._scope(body), type(self._status))
        except UnfitBodyError as error:
            raise self._refusal(body, error) from error.__cause__
        return self._fields(body, answers, annotated=True)

    def generated(self, body: Body, targets: Sequence[IntEnum]) -> dict[str, Any]:
        """The fields of a `Consumer` whose targets are told; every directive is allowed.

        Raises:
            DefinitionError: the body cannot be used.
        """
        try:
            self._check(body)
        except UnfitBodyError as error:
            raise self._refusal(body, error) from error.__cause__
        told = Answers(frozenset(int(target) for target in targets), DIRECTIVES)
        return self._fields(body, told, annotated=False)

    def payload_of(self, body: Body) -> Any:
        """The type that a callback's annotation names for its payload; None: it takes none.

        Raises:
            DefinitionError: the annotation cannot be used.
        """
        try:
            return read_payload(body, self._scope(body))
        except UnfitBodyError as error:
            raise self._refusal(body, error) from error.__cause__

    def _refusal(self, body: Body, error: UnfitBodyError) -> DefinitionError:
        """The error that names this place, the body and the problem."""
        where = place_of(body)
        name = f"{name_of(body)} ({where})" if where else name_of(body)
        return DefinitionError(
            f"{self._variable}.{self._verb}({self._named}), {name}: {error.problem}",
            workflow=self._workflow,
            hint=error.hint,
        )

    def _check(self, body: Body) -> None:
        if not callable(body):
            raise UnfitBodyError("is no function")
        if is_generator(body):
            raise UnfitBodyError("is a generator", "A body answers once, with return")
        parameters(body, most=2 if self._verb in ("callback", "add_callback") else 1)

    def _fields(self, body: Body, answers: Answers, *, annotated: bool) -> dict[str, Any]:
        return {
            "status": int(self._status),
            "name": name_of(body),
            "where": place_of(body),
            "body": body,
            "is_async": is_async(body),
            "targets": answers.targets,
            "directives": answers.directives,
            "annotated": annotated,
        }

    def _scope(self, body: Body) -> Scope:
        instead = f"{self._variable}.add_{self._verb}({self._named}, {name_of(body)}, to=[…])"
        return Scope(body, self._frame, statuses=type(self._status), instead=instead)
