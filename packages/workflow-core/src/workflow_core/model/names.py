"""Every topic, consumer and role name is built here and nowhere else.

Topics are those of the Go project luno/workflow, so that its processes can read them: the
workflow's name with spaces as underscores, case kept, a hyphen, and the status's number or a
word. Consumer and role names are our own; they hold the pool's name and never its statuses, so
that adding a status changes no cursor. Adapters put the namespace before them.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

__all__ = [
    "MAIN_POOL",
    "OUTBOX_PROCESS",
    "SCHEDULES",
    "SCHEDULES_PROCESS",
    "TRIGGER_PROCESS",
    "WORKERS",
    "callback_process",
    "census_role",
    "connector_consumer",
    "connector_process",
    "connector_role",
    "consumer",
    "dead_letters",
    "delete_topic",
    "deliveries_consumer",
    "hook_process",
    "is_reserved",
    "is_steps_consumer",
    "reconciler_role",
    "relay_role",
    "retries_topic",
    "role_group",
    "run_state_topic",
    "schedule_key",
    "schedules_role",
    "shard_of",
    "shard_role",
    "sharded",
    "slot_role",
    "status_topic",
    "stay_of_timer",
    "step_process",
    "timer_key",
    "timer_plan_key",
    "timer_process",
    "timers_role",
    "upkeep_role",
]


MAIN_POOL = "main"
"""The pool that works on all statuses which no other was given."""

SCHEDULES = "_schedules"
"""The reserved workflow whose records say how far each schedule has come."""

WORKERS = "_workers"
"""The reserved workflow whose records say which processes serve."""

OUTBOX_PROCESS = "outbox-consumer"
SCHEDULES_PROCESS = "schedules"
TRIGGER_PROCESS = "trigger"
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")
_TIMER = re.compile(r"/(\d+)[/?](.*)", re.DOTALL)  # behind the run's id
_LONGEST = 255  # characters of a workflow's name, in every store


def is_reserved(workflow: str) -> bool:
    """Whether its records are the engine's own, and no runs."""
    return workflow.startswith("_")


def _base(workflow: str) -> str:
    return workflow.replace(" ", "_")


@lru_cache(maxsize=4096)
def status_topic(workflow: str, status: int) -> str:
    """Where events of live runs at `status` travel."""
    return f"{_base(workflow)}-{status}"


@lru_cache(maxsize=1024)
def run_state_topic(workflow: str) -> str:
    """Where events of paused, cancelled, completed and deleted runs travel."""
    return f"{_base(workflow)}-run-state-change"


def delete_topic(workflow: str) -> str:
    """Where requests for deletion of a run's data travel."""
    return f"{_base(workflow)}-delete"


def consumer(workflow: str, pool: str) -> str:
    """The name under which the members of a pool share their cursors."""
    return f"{_base(workflow)}-{pool}-steps"


def is_steps_consumer(workflow: str, name: str) -> bool:
    """Whether it is the name of one of the workflow's pools."""
    return name.startswith(f"{_base(workflow)}-") and name.endswith("-steps")


def shard_role(workflow: str, pool: str, index: int, count: int) -> str:
    """The right to work on shard `index` (from 0) of `count` of a pool."""
    return sharded(consumer(workflow, pool), index, count)


def slot_role(workflow: str, status: int, index: int) -> str:
    """The right to run one body of a step that is limited over all processes."""
    return f"{_base(workflow)}-{status}-slot-{index}"


def retries_topic(workflow: str) -> str:
    """Where hooks and connector events that failed come back to be tried again."""
    return f"{_base(workflow)}-retries"


def deliveries_consumer(workflow: str) -> str:
    """The name under which members share what is delivered to hooks, and what is tried again."""
    return f"{_base(workflow)}-deliveries"


def connector_consumer(workflow: str, connector: str) -> str:
    """The name under which members share a connector's place in its source."""
    return f"{_base(workflow)}-{_base(connector)}-connector"


def connector_role(workflow: str, connector: str, index: int, count: int) -> str:
    """The right to read shard `index` (from 0) of `count` of a connector's source."""
    return sharded(connector_consumer(workflow, connector), index, count)


def dead_letters(workflow: str) -> str:
    """The reserved workflow whose records are the workflow's dead letters."""
    name = f"_dead letters of {workflow}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(workflow.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST - 17]} {digest}"


def reconciler_role(workflow: str, pool: str = MAIN_POOL) -> str:
    """The right to look for runs without a driver among those of a pool."""
    role = f"{_base(workflow)}-reconciler"
    return role if pool == MAIN_POOL else f"{role}-{pool}"


def census_role(workflow: str) -> str:
    """The right to count, for observers, what there is of a workflow."""
    return f"{_base(workflow)}-census"


def relay_role(workflow: str) -> str:
    """The right to relay outbox events, where the store offers no claims."""
    return f"{_base(workflow)}-relay"


def upkeep_role(workflow: str) -> str:
    """The right to purge ended runs."""
    return f"{_base(workflow)}-upkeep"


def timers_role(workflow: str) -> str:
    """The right to let a workflow's timers fire, and to arm what is missing."""
    return f"{_base(workflow)}-timers"


def schedules_role(workflow: str) -> str:
    """The right to begin the runs of a workflow's schedules."""
    return f"{_base(workflow)}-schedules"


def schedule_key(workflow: str, schedule: str) -> str:
    """The foreign id of a schedule's record; a schedule's name holds no slash."""
    return f"{workflow}/{schedule}"


def timer_key(run_id: str, entered_version: int, name: str) -> str:
    """Names a timer of this stay of this run."""
    return f"{run_id}/{entered_version}/{name}"


def timer_plan_key(run_id: str, entered_version: int, name: str) -> str:
    """Names the question when a timer of this stay is to fire, until it is answered."""
    return f"{run_id}/{entered_version}?{name}"


def stay_of_timer(run_id: str, key: str) -> tuple[int, str] | None:
    """The version of entry and the name in a timer's or a plan's key; None: it is no such key."""
    found = _TIMER.fullmatch(key, len(run_id)) if key.startswith(run_id) else None
    return (int(found[1]), found[2]) if found else None


def role_group(role: str) -> str:
    """What a shard's role is a shard of; any other role is by itself."""
    return _SHARD.sub("", role)


def shard_of(role: str) -> tuple[str, int, int] | None:
    """(what it is a shard of, which from 0, of how many); None: it is by itself."""
    found = _SHARD.search(role)
    return None if found is None else (role[: found.start()], int(found[1]), int(found[2]))


def sharded(group: str, index: int, count: int) -> str:
    """The role of a shard, as `shard_of` takes it apart."""
    return f"{group}-{index}-of-{count}"


# What does the work, as metrics name it: the Go original's names, without the workflow's name and
# without the number of the shard, as one consumer of ours reads all shards that its process holds.


def step_process(status: str) -> str:
    """The step of a status, by the status's name."""
    return f"{_base(status.lower())}-consumer"


def timer_process(status: str) -> str:
    """The timers of a status."""
    return f"{_base(status.lower())}-timeout-consumer"


def callback_process(status: str) -> str:
    """The callbacks of a status; the Go original has no name for them."""
    return f"{_base(status.lower())}-callback"


def hook_process(hook: str) -> str:
    """A hook."""
    return f"{_base(hook)}-hook-consumer"


def connector_process(connector: str) -> str:
    """A connector."""
    return f"{_base(connector)}-connector-consumer"
