"""Many timers of one instant, through the whole engine: runs in SQLite, timers in Redis."""

import time
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

from workflow_core import Engine, Run, Trigger, Workflow
from workflow_core.model import Timeout
from workflow_ctl.tuning import tuned
from workflow_redis_timeout import RedisTimeoutStore

PATIENCE = timedelta(minutes=5)
AHEAD = timedelta(seconds=5)


class Status(IntEnum):
    WAITING = 1
    GONE = 2


@dataclass
class Nothing:
    pass


meetings = Workflow("meetings", Nothing, Status, ends=(Status.GONE,))
called: dict[str, float] = {}


@meetings.timeout(Status.WAITING, after=timedelta(days=1))
def leave(run: Run[Nothing, Status]) -> Literal[Status.GONE]:
    called[run.run_id] = time.time()
    return Status.GONE


def measure(store: RedisTimeoutStore, url: str, namespace: str, folder: Path, count: int) -> None:
    """`store` is another handle on the engine's timers, to make them due at one instant."""
    overrides = {
        "record_store": "sql",
        "event_streamer": "sql",
        "role_scheduler": "sql",
        "timeout_store": "redis",
        "namespace": namespace,
        "adapters.sql.url": f"sqlite:///{folder / 'late.db'}",
        "adapters.redis.url": url,
    }
    with Engine.from_config(environ={}, overrides=overrides) as engine, engine.serving(meetings):
        runs = engine.trigger_many(
            meetings, [Trigger(str(number), Nothing()) for number in range(count)]
        )
        while len(timers := listed(store, count)) < count:
            time.sleep(0.1)
        store.reschedule_many([timer.replace(delay=AHEAD) for timer in timers])
        with tuned():
            due = {timer.run_id: timer.due_at.timestamp() for timer in listed(store, count)}
            gone = [engine.expect(meetings, str(run), Status.GONE) for run in runs]
            views = [each.result(PATIENCE.total_seconds()) for each in gone]
    ended = {view.run_id: view.updated_at.timestamp() for view in views}
    spread = 1_000 * (max(due.values()) - min(due.values()))
    print(f"{count:,} timers due within {spread:.1f} ms, runs in SQLite with full sync:")
    for what, times in (("function called", called), ("next status committed", ended)):
        late = sorted(1_000 * (times[run] - due[run]) for run in due)
        p50, p99 = (late[int(len(late) * share)] for share in (0.5, 0.99))
        print(f"{what:28}{p50:10,.1f} ms late at the median, {p99:,.1f} at p99")


def listed(store: RedisTimeoutStore, count: int) -> list[Timeout]:
    return list(store.list_timeouts(meetings.name, limit=count).items)
