"""Every topic, consumer and role name is built here and nowhere else.

Topics are those of the Go project luno/workflow, so that its processes can read them: the
workflow's name with spaces as underscores, case kept, a hyphen, and the status's number or a
word. Consumer and role names are our own; they hold the pool's name and never its statuses, so
that adding a status changes no cursor. Adapters put the namespace before them.
"""

from __future__ import annotations

__all__ = [
    "consumer",
    "delete_topic",
    "reconciler_role",
    "relay_role",
    "run_state_topic",
    "shard_role",
    "status_topic",
    "timer_key",
    "upkeep_role",
]


def _base(workflow: str) -> str:
    return workflow.replace(" ", "_")


def status_topic(workflow: str, status: int) -> str:
    """Where events of live runs at `status` travel."""
    return f"{_base(workflow)}-{status}"


def run_state_topic(workflow: str) -> str:
    """Where events of paused, cancelled, completed and deleted runs travel."""
    return f"{_base(workflow)}-run-state-change"


def delete_topic(workflow: str) -> str:
    """Where requests for deletion of a run's data travel."""
    return f"{_base(workflow)}-delete"


def consumer(workflow: str, pool: str) -> str:
    """The name under which the members of a pool share their cursors."""
    return f"{_base(workflow)}-{pool}-steps"


def shard_role(workflow: str, pool: str, index: int, count: int) -> str:
    """The right to work on shard `index` (from 0) of `count` of a pool."""
    return f"{consumer(workflow, pool)}-{index}-of-{count}"


def reconciler_role(workflow: str) -> str:
    """The right to look for runs without a driver."""
    return f"{_base(workflow)}-reconciler"


def relay_role(workflow: str) -> str:
    """The right to relay outbox events, where the store offers no claims."""
    return f"{_base(workflow)}-relay"


def upkeep_role(workflow: str) -> str:
    """The right to purge ended runs."""
    return f"{_base(workflow)}-upkeep"


def timer_key(run_id: str, entered_version: int, name: str) -> str:
    """Names a timer of this stay of this run."""
    return f"{run_id}/{entered_version}/{name}"
