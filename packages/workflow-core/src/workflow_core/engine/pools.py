"""Pools: named sets of statuses, each worked on by processes of its own.

A pool's name, never its statuses, is in the names of its cursors and roles: a status that moves to
another pool is read there from where the stream begins, and what is stale in it is dropped. The
pool ``main`` sees to what belongs to no status; the others run steps, and arm the timers of what
they receive.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from workflow_core.definition import Workflow
from workflow_core.errors import InputError
from workflow_core.model import names

__all__ = ["Pool"]

_ALLOWED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"


@dataclass(frozen=True)
class Pool:
    """What one serving works on.

    Attributes:
        name: part of cursors' and roles' names.
        statuses: the numbers by workflow; None: all of each.
    """

    name: str = names.MAIN_POOL
    statuses: Mapping[str, frozenset[int]] | None = None

    @classmethod
    def checked(
        cls,
        name: str,
        workflows: Sequence[Workflow[Any, Any]],
        statuses: Collection[IntEnum] | None,
    ) -> Self:
        """Raises InputError where these are no pool of the workflows."""
        if not 1 <= len(name) <= 64 or not set(name) <= set(_ALLOWED):
            raise InputError(
                f"a pool's name has 1 to 64 letters, digits and underscores, not {name!r}"
            )
        if statuses is None:
            if name != names.MAIN_POOL:
                raise InputError(
                    f"pool {name!r} has no statuses",
                    hint="Say which it works on, e.g. statuses=[Status.PAID]",
                )
            return cls(name)
        chosen = {
            workflow.name: frozenset(
                int(status) for status in statuses if type(status) is workflow.statuses
            )
            for workflow in workflows
        }
        kinds = {workflow.statuses for workflow in workflows}
        for status in statuses:
            if type(status) not in kinds:
                raise InputError(f"{status!r} is a status of none of the workflows to be served")
        for workflow in workflows:
            consumed = {*workflow.steps, *(timeout.status for timeout in workflow.timeouts)}
            if not consumed & chosen[workflow.name]:
                raise InputError(
                    f"pool {name!r} has nothing to do for workflow {workflow.name!r}: none of its "
                    "statuses has a step or timer there",
                    workflow=workflow.name,
                )
        return cls(name, chosen)

    @property
    def is_main(self) -> bool:
        """Whether it sees to what is a workflow's as a whole."""
        return self.name == names.MAIN_POOL

    def has(self, workflow: Workflow[Any, Any], status: int) -> bool:
        """Whether it works on this status."""
        return self.statuses is None or status in self.statuses[workflow.name]
