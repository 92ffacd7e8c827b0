"""Which pool of a simulated cluster works on which status."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.engine import Engine, Serving
from workflow_core.engine.pools import Pool
from workflow_core.errors import InputError
from workflow_core.model import names

__all__ = ["Pools"]


class Pools:
    """The pool ``main``, and others with statuses that it leaves to them.

    Args:
        workflows: what is served.
        apart: the statuses of each pool but main, by its name.

    Attributes:
        names: of all pools, main first.

    Raises:
        InputError: a pool that cannot be served so, or a status in two of them.
    """

    def __init__(
        self, workflows: Sequence[Workflow[Any, Any]], apart: Mapping[str, Collection[IntEnum]]
    ) -> None:
        self.names = [names.MAIN_POOL, *apart]
        self._pool_of: dict[tuple[str, int], str] = {}
        self._served: dict[str, Sequence[Workflow[Any, Any]]] = {names.MAIN_POOL: workflows}
        self._statuses: dict[str, Collection[IntEnum] | None] = {names.MAIN_POOL: None}
        for name, statuses in apart.items():
            self._add(name, statuses, workflows)
        if apart:
            self._leave_the_rest_to_main(workflows)

    def of(self, workflow: str, status: int) -> str:
        """The pool that works on this status."""
        return self._pool_of.get((workflow, status), names.MAIN_POOL)

    def consumer(self, workflow: str, status: int) -> str:
        """The name under which its members read the status's events."""
        return names.consumer(workflow, self.of(workflow, status))

    def serving(self, engine: Engine, pool: str) -> Serving:
        """What a member of the pool does."""
        return engine.serving(*self._served[pool], pool=pool, statuses=self._statuses[pool])

    def _add(
        self, name: str, statuses: Collection[IntEnum], workflows: Sequence[Workflow[Any, Any]]
    ) -> None:
        if name == names.MAIN_POOL:
            raise InputError("pools= has 'main', which has what the others leave to it")
        served = [each for each in workflows if _consumed(each) & _of(each, statuses)]
        Pool.checked(name, served or workflows, statuses)
        for workflow in served:
            for status in sorted(_of(workflow, statuses)):
                before = self._pool_of.setdefault((workflow.name, status), name)
                if before != name:
                    raise InputError(
                        f"pools {before!r} and {name!r} both have "
                        f"{workflow.status(status).name} of {workflow.name!r}"
                    )
        self._served[name], self._statuses[name] = served, statuses

    def _leave_the_rest_to_main(self, workflows: Sequence[Workflow[Any, Any]]) -> None:
        taken = {status for pool in self.names[1:] for status in self._statuses[pool] or ()}
        kinds = dict.fromkeys(workflow.statuses for workflow in workflows)
        rest = [status for kind in kinds for status in kind if status not in taken]
        Pool.checked(names.MAIN_POOL, workflows, rest)
        self._statuses[names.MAIN_POOL] = rest


def _consumed(workflow: Workflow[Any, Any]) -> set[int]:
    return {*workflow.steps, *(timeout.status for timeout in workflow.timeouts)}


def _of(workflow: Workflow[Any, Any], statuses: Collection[IntEnum]) -> set[int]:
    return {int(status) for status in statuses if type(status) is workflow.statuses}
