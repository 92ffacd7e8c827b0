"""Engines over each kind of installation, and children that are forked from this very process."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from workflow_adaptertest.servers import Space
from workflow_core import Engine
from workflow_sql import upgrade

PATIENCE = 30  # seconds; only a hang takes that long

Settings: TypeAlias = Mapping[str, object]
InChild: TypeAlias = Callable[[Callable[[], object]], int]
Open: TypeAlias = Callable[[Settings], Engine]


PLACES = ("sqlite", "sqlite beside sqlite", "postgres", "kafka")
"""Where runs are, and how events travel: the second and the last file them in an outbox."""


@pytest.fixture(params=PLACES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An installation of one's own."""
    return settings_of(request.param, request, tmp_path)


@pytest.fixture
def beside(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Store and stream in two files: events are published by the process that wrote them."""
    return settings_of("sqlite beside sqlite", request, tmp_path)


def settings_of(place: str, request: pytest.FixtureRequest, folder: Path) -> Settings:
    ports = ("record_store", "timeout_store", "event_streamer", "role_scheduler")
    file, other = (f"sqlite:///{folder / name}.db" for name in ("runs", "events"))
    common: dict[str, object] = {**dict.fromkeys(ports, "sql"), "adapters.sql.url": file}
    if place == "sqlite beside sqlite":
        events = {"adapters.events.adapter": "sql", "adapters.events.url": other}
        return {**common, **events, "event_streamer": "events"}
    if place == "postgres":
        space: Space = request.getfixturevalue("postgres_space")
        upgrade(str(space.url))
        return {**common, "adapters.sql.url": str(space.url)}
    if place == "kafka":
        broker: Space = request.getfixturevalue("kafka_space")
        return {
            **common,
            "event_streamer": "kafka",
            "namespace": broker.name,
            "adapters.kafka.bootstrap_servers": broker.url.bootstrap,
            "adapters.kafka.partitions": 2,
        }
    return common


@pytest.fixture
def open_engine() -> Iterator[Open]:
    """Closed at the end."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(
            Engine.from_config(environ={}, overrides=settings)
        )


@pytest.fixture
def in_child() -> InChild:
    """Do it in a forked child, and wait for its end; its exit code, zero if all was well."""
    return _in_child


def _in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            # a hang says where it is, and ends
            faulthandler.register(signal.SIGALRM, file=2, chain=True)
            signal.alarm(PATIENCE)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
