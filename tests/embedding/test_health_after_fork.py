"""A forked child asks adapters for itself: its parent's questions are answered to the parent."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_core import AdapterState, Engine
from workflow_sql import SqlRecordStore

if TYPE_CHECKING:
    from tests.embedding.conftest import InChild

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


def test_child_is_told_when_its_parent_waits_for_an_answer(
    in_child: InChild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when a child keeps the questions: it waits for its parent's answer."""
    thawed = threading.Event()
    check = SqlRecordStore.check_health

    def frozen(store: SqlRecordStore) -> str:
        assert thawed.wait(60)
        return check(store)

    with Engine.embedded(tmp_path / "orders.db") as engine:
        monkeypatch.setattr(SqlRecordStore, "check_health", frozen)
        states = [each.state for each in engine.health(timedelta(milliseconds=50)).adapters]
        assert AdapterState.SILENT in states
        monkeypatch.setattr(SqlRecordStore, "check_health", check)

        def ask() -> None:
            health = engine.health(timedelta(seconds=60))
            assert health.ready, health
            assert health.live

        assert in_child(ask) == 0
        thawed.set()
