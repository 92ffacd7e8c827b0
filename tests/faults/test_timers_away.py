"""Timers in a database of their own that is away for a while, under an engine that serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

import pytest
from workflow_adaptertest.servers import Server, Space
from workflow_core import Engine, Run, Workflow
from workflow_core.discovery import embedded
from workflow_sql import Database, SqlTimeoutStore

LONG = timedelta(seconds=60)
SOON = timedelta(seconds=1)


class Status(IntEnum):
    STARTED = 1
    WAITING = 2
    DONE = 3


@dataclass
class Wait:
    pass


WaitRun = Run[Wait, Status]
waits = Workflow("waits", Wait, Status, ends=(Status.DONE,))


@waits.step(Status.STARTED)
def begin(run: WaitRun) -> Literal[Status.WAITING]:
    return Status.WAITING


@waits.timeout(Status.WAITING, after=SOON)
def end(run: WaitRun) -> Literal[Status.DONE]:
    return Status.DONE


@pytest.fixture
def engine(tmp_path: Path, postgres_space: Space) -> Iterator[Engine]:
    """Records and events are in a file."""
    adapters = embedded(tmp_path / "records.db").build()
    assert adapters.timeout_store is not None
    with (
        Database(str(postgres_space.url), upgrade=True) as database,
        closing(adapters.timeout_store),
        Engine(replace(adapters, timeout_store=SqlTimeoutStore(database))) as engine,
    ):
        yield engine


def test_timers_fire_when_their_database_that_was_away_is_back(
    engine: Engine, postgres_server: Server
) -> None:
    """Those that were armed, and those of runs that came to wait meanwhile.

    Seen to fail with an event acked though its timers could not be armed.
    """
    with engine.serving(waits):
        ended = engine.trigger(waits, "before", Wait())
        engine.wait_until_ended(waits, ended, LONG)
        armed = engine.trigger(waits, "armed", Wait())
        engine.wait_for(waits, armed, Status.WAITING, LONG)
        postgres_server.kill()
        waiting = engine.trigger(waits, "meanwhile", Wait())
        engine.wait_for(waits, waiting, Status.WAITING, LONG)
        postgres_server.start()
        for run_id in (armed, waiting):
            engine.wait_until_ended(waits, run_id, LONG)
