"""Who serves a run: which pool has its status, and whether anybody holds the roles it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from workflow_core.engine.core import Core
from workflow_core.engine.why.values import Cause, Reason, at
from workflow_core.engine.worker_state import WorkerState, WorkerView
from workflow_core.model import Record, names
from workflow_core.ports import Capability

__all__ = ["SERVE", "Served"]

SERVE = "Start a process that serves the workflow, or see why the one that did has died"


class Served:
    """Asks for one run, at one version, and asks nothing twice. One thread.

    Args:
        core: the engine's.
        record: the run.
        step: its status in words, where the code has a step there; "" where it has none, or nobody
            knows.
        pool: the pool that works on its status; None: the one whose processes say so.
        workers: asks who serves.
        holders: asks which of some roles are held; None: it cannot be asked.
    """

    def __init__(
        self,
        core: Core,
        record: Record,
        step: str,
        pool: str | None,
        workers: Callable[[], Sequence[WorkerView]],
        holders: Callable[[Sequence[str]], set[str] | None],
    ) -> None:
        self._core = core
        self._record = record
        self._step = step
        self._given_pool = pool
        self._ask_workers = workers
        self._holders = holders

    @cached_property
    def pool(self) -> str:
        """That has its status: of processes that live, else of lost ones; else the main one."""
        if self._given_pool is not None:
            return self._given_pool
        live = {each.pool for each in self._having if each.state is WorkerState.LIVE}
        pools = live or {each.pool for each in self._having}
        return names.MAIN_POOL if names.MAIN_POOL in pools or not pools else min(pools)

    @cached_property
    def in_no_pool(self) -> Reason | None:
        """That processes serve its workflow, and none of them its status.

        None where one does, where none serves the workflow at all, where one of them does not say
        (older code, or a record that cannot be read), and where it is at no step.
        """
        workflow, status = self._record.workflow, self._record.status
        there = [each for each in self._workers if each.state is not WorkerState.LOST]
        if not self._step or any(each.runs(workflow, status) is not False for each in there):
            return None
        served = sorted({repr(each.pool) for each in there if workflow in each.workflows})
        if not served:
            return None
        detail = (
            f"No process works on {self._step}: the pools of {workflow!r} that are served "
            f"({', '.join(served)}) have other statuses"
        )
        if not self._having:
            todo = (
                f"Serve a pool that has {self._step}, or give it to one that is served; until then "
                "its runs wait"
            )
            return Reason(cause=Cause.NOT_SERVED, detail=detail, todo=todo)
        last = max(self._having, key=lambda each: each.last_seen)
        return Reason(
            cause=Cause.NOT_SERVED,
            detail=f"{detail}; the pool {last.pool!r} had it, and was last heard of at "
            f"{at(last.last_seen)}, from {last.instance}",
            todo=f"Start a process of the pool {last.pool!r} again, and see why that one died",
        )

    def missing(self) -> list[Reason]:
        """What nobody has, and the run needs: its status, or a role."""
        return self._unheld() if self.in_no_pool is None else [self.in_no_pool]

    # ------------------------------------------------------------------------------------------

    @cached_property
    def _workers(self) -> Sequence[WorkerView]:
        return self._ask_workers()

    @cached_property
    def _having(self) -> list[WorkerView]:
        """All that say that they run its step, or said so before they were lost."""
        workflow, status = self._record.workflow, self._record.status
        return [each for each in self._workers if each.runs(workflow, status)]

    def _unheld(self) -> list[Reason]:
        workflow, shards = self._record.workflow, self._core.settings.shards
        reconciler = names.reconciler_role(workflow, self.pool)
        parts: list[str] = []
        streamer = self._core.streamer
        if streamer is not None and Capability.BALANCES_MEMBERS not in streamer.capabilities:
            parts = [names.shard_role(workflow, self.pool, i, shards) for i in range(shards)]
        holders = self._holders([reconciler, *parts])
        if holders is None:
            return []
        free = [role for role in parts if role not in holders]
        if not holders:
            of_pool = "" if self.pool == names.MAIN_POOL else f" in pool {self.pool!r}"
            detail = f"No process serves {workflow!r}{of_pool}: nobody holds any of its roles"
            todo = SERVE
        elif parts and len(free) == len(parts):
            detail = f"Nobody holds one of the {shards} shards of {workflow!r}"
            todo = f"Do the processes that serve it have another engine.shards than {shards}?"
        elif free:
            detail = f"{len(free)} of the {shards} shards of {workflow!r} are held by nobody"
            todo = "If that lasts: a process has died or hangs; its roles are free soon"
        else:
            return []
        return [Reason(cause=Cause.NOT_SERVED, detail=detail, todo=todo)]
