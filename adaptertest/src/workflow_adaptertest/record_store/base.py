"""What all parts of the record store's contract use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import ClassVar, cast

import pytest
from workflow_core.ports import RecordStore, Write

from workflow_adaptertest.contract import Contract, Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import ORDERS, Samples

__all__ = ["RecordStoreCases", "assert_stamped", "filed_ids"]


class RecordStoreCases(Contract):
    """Fixtures: ``store``, and ``other``, a second handle on the same data."""

    port: ClassVar[str] = "record store"

    def adapter(self, env: Env) -> AbstractContextManager[RecordStore]:
        """Make the record store; see `Contract.adapter`."""
        return cast("AbstractContextManager[RecordStore]", super().adapter(env))

    def _basic_calls(
        self, handle: RecordStore, env: Env, make: Samples
    ) -> Mapping[str, Callable[[], object]]:
        run = make.record()
        handle.store(Write(record=run))
        return {
            "store one run and its event": lambda: handle.store(make.write(make.record())),
            "look one run up": lambda: handle.lookup(run.run_id),
            "list what is due in the outbox": lambda: filed_ids(handle, limit=100),
        }

    @pytest.fixture
    def store(self, open_handle: Opener) -> RecordStore:
        """The record store under test."""
        return cast(RecordStore, open_handle())

    @pytest.fixture
    def other(self, store: RecordStore, open_handle: Opener) -> RecordStore:
        """A second handle on its data, as another process has it."""
        return cast(RecordStore, open_handle())


def filed_ids(
    store: RecordStore, *, workflows: Sequence[str] = (ORDERS,), limit: int = 5000
) -> list[str]:
    """The ids of all outbox events that are due and unheld, in the store's order."""
    return [event.id for event in store.list_outbox_events(workflows, limit=limit)]


def assert_stamped(stamp: datetime, *, after: datetime, before: datetime, what: str) -> None:
    """The stamp was made by the store's clock between these two readings of it."""
    assert stamp.utcoffset() is not None, f"{what} is naive; times are aware and UTC"
    assert after <= stamp <= before, (
        f"{what} is to be stamped by the store's own clock, which stood between {after} and"
        f" {before}, but it is {stamp}"
    )
