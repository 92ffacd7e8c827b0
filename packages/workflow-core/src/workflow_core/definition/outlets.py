"""What a definition has beside its graph, hooks and connectors, and the rules for adding them."""

from __future__ import annotations

import dataclasses
from types import FrameType
from typing import TYPE_CHECKING, Any

from workflow_core.definition.bodies import (
    Body,
    UnfitBodyError,
    is_async,
    is_generator,
    name_of,
    place_of,
    signature_of,
)
from workflow_core.definition.contents import Contents
from workflow_core.definition.retry import Retry
from workflow_core.errors import DefinitionError

if TYPE_CHECKING:
    from workflow_core.definition.connectors import Connector
    from workflow_core.definition.hooks import Hook

__all__ = ["Outlets"]

_LONGEST_NAME = 100  # it is part of a key


class Outlets:
    """Filled by one thread, until the definition is frozen.

    Args:
        contents: tells whether the definition is frozen.
        workflow: the workflow's name, for errors.
    """

    def __init__(self, contents: Contents, workflow: str) -> None:
        self._contents = contents
        self._workflow = workflow
        self.hooks: tuple[Hook, ...] = ()
        self.connectors: tuple[Connector, ...] = ()
        self.followers: tuple[str, ...] = ()

    def add_hook(self, hook: Hook) -> None:
        """Add one of any number of hooks, under a name of its own."""
        self._check_new(hook.name, hook.told, [(it.name, it.told) for it in self.hooks])
        self.hooks += (hook,)

    def add_connector(self, connector: Connector) -> None:
        """Add one of any number of connectors, under a name of its own."""
        others = [(it.name, it.told) for it in self.connectors]
        self._check_new(connector.name, connector.told, others)
        self.connectors += (connector,)

    def add_follower(self, name: str) -> None:
        """Note who follows this workflow; twice is harmless."""
        if name not in self.followers:
            self.followers += (name,)

    def fields_of(
        self, workflow: object, verb: str, frame: FrameType, body: Body, *, parameters: int
    ) -> dict[str, Any]:
        """Name, place and nature of a function.

        Raises:
            DefinitionError: it is none that could be called with so many parameters.
        """
        try:
            _check(body, parameters)
        except UnfitBodyError as error:
            names = {**frame.f_globals, **frame.f_locals}
            variable = next((n for n, value in names.items() if value is workflow), "workflow")
            told = f"{name_of(body)} ({place_of(body)})"
            raise DefinitionError(
                f"{variable}.{verb}(…), {told}: {error.problem}",
                workflow=self._workflow,
                hint=error.hint,
            ) from error.__cause__
        return {
            "name": name_of(body),
            "where": place_of(body),
            "body": body,
            "is_async": is_async(body),
        }

    def retry_of(self, retry: Retry | None, usual: Retry) -> Retry:
        """What to do on failure: there is no status to go to.

        Raises:
            DefinitionError: ``retry`` names one.
        """
        if retry is not None and retry.then is not None:
            raise DefinitionError(
                "Retry(then=…) is for steps and timers: here there is no run to move",
                workflow=self._workflow,
                hint="Leave it out; what has failed pause_after times is set aside",
            )
        return retry or dataclasses.replace(usual, then=None)

    def _check_new(self, name: str, told: str, others: list[tuple[str, str]]) -> None:
        problem, hint = "", ""
        if self._contents.frozen:
            problem = "the workflow is in use and cannot be changed any more"
            hint = "Import the modules that declare it before an engine is given the workflow"
        elif not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
            problem = f"a name has 1 to {_LONGEST_NAME} printable characters"
        else:
            for other, where in others:
                if other == name:
                    problem = f"the name {name!r} is taken by {where}"
                    hint = "Give one of them another with name="
        if problem:
            raise DefinitionError(f"{told}: {problem}", workflow=self._workflow, hint=hint)


def _check(body: Body, parameters: int) -> None:
    if not callable(body):
        raise UnfitBodyError("is no function")
    if is_generator(body):
        raise UnfitBodyError("is a generator", "It is called and answers once")
    try:
        signature_of(body).bind(*[None] * parameters)
    except (TypeError, ValueError) as error:
        what = "one argument" if parameters == 1 else f"{parameters} arguments"
        raise UnfitBodyError(f"cannot be called with {what}: {error}") from error
