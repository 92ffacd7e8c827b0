"""What all parts of the timeout store's contract use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import ClassVar, cast

import pytest
from workflow_core.model import Timeout
from workflow_core.ports import RecordStore, TimeoutStore

from workflow_adaptertest.contract import Contract, Opener
from workflow_adaptertest.env import Env
from workflow_adaptertest.samples import ORDERS, Samples

__all__ = ["ZERO", "TimeoutStoreCases", "due_keys", "list_all", "open_keys"]

ZERO = timedelta(0)


class TimeoutStoreCases(Contract):
    """Fixtures: ``timers``, and ``other``, a second handle on the same data."""

    port: ClassVar[str] = "timeout store"
    _settable: ClassVar[frozenset[str]] = Contract._settable | {"joined_store"}

    def adapter(self, env: Env) -> AbstractContextManager[TimeoutStore]:
        """Make the timeout store; see `Contract.adapter`."""
        return cast("AbstractContextManager[TimeoutStore]", super().adapter(env))

    def joined_store(self, env: Env) -> AbstractContextManager[RecordStore] | None:
        """A record store over the same database, whose transactions the timers join.

        None, as here: they join none.
        """
        return None

    def _basic_calls(
        self, handle: TimeoutStore, env: Env, make: Samples
    ) -> Mapping[str, Callable[[], object]]:
        def create_and_complete() -> None:
            timeout = make.timeout()
            handle.create(timeout)
            handle.complete(timeout.key)

        return {
            "create and complete one timer": create_and_complete,
            "list what is due": lambda: handle.list_valid([ORDERS], limit=100),
        }

    @pytest.fixture
    def timers(self, open_handle: Opener) -> TimeoutStore:
        """The timeout store under test."""
        return cast(TimeoutStore, open_handle())

    @pytest.fixture
    def other(self, timers: TimeoutStore, open_handle: Opener) -> TimeoutStore:
        """A second handle on its data, as another process has it."""
        return cast(TimeoutStore, open_handle())

    @pytest.fixture
    def joined(self, env: Env) -> Iterator[RecordStore | None]:
        """The record store whose transactions the timers join, if they join any."""
        store = self.joined_store(env)
        if store is None:
            yield None
        else:
            with store as opened:
                yield opened


def due_keys(
    timers: TimeoutStore, *, workflows: Sequence[str] = (ORDERS,), limit: int = 5000
) -> list[str]:
    """The keys of the timers that are due, in the store's order."""
    return [timeout.key for timeout in timers.list_valid(workflows, limit=limit)]


def open_keys(timers: TimeoutStore, workflow: str = ORDERS) -> list[str]:
    """The keys of all open timers."""
    return [timeout.key for timeout in list_all(timers, workflow)]


def list_all(timers: TimeoutStore, workflow: str = ORDERS, limit: int = 1000) -> list[Timeout]:
    """All open timers, page by page."""
    timeouts: list[Timeout] = []
    after: str | None = None
    while True:
        page = timers.list_timeouts(workflow, after=after, limit=limit)
        assert len(page.items) <= limit, f"a page of over {limit} timers"
        timeouts += page.items
        if page.next is None:
            return timeouts
        assert page.items, "an empty page that is not the last would be asked for ever"
        after = page.next
