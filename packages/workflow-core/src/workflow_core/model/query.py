"""What may be asked of a record store, and the pages in which it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from workflow_core.model.search import Wanted
from workflow_core.model.states import RunState
from workflow_core.model.value import Value

__all__ = ["Page", "RecordQuery", "SortOrder"]

T = TypeVar("T")


class SortOrder(StrEnum):
    """By (created_at, run_id), so that equal times break the same way everywhere."""

    OLDEST_FIRST = "oldest first"
    NEWEST_FIRST = "newest first"


class RecordQuery(Value, frozen=True, kw_only=True):
    """Filters are all to be met; within one of several values any may be. None: no filter."""

    workflow: str | None = None
    foreign_id: str | None = None
    run_ids: Sequence[str] | None = None
    statuses: Sequence[int] | None = None
    states: Sequence[RunState] | None = None
    created_after: datetime | None = None
    """Strictly after; ``before`` strictly before."""
    created_before: datetime | None = None
    updated_after: datetime | None = None
    updated_before: datetime | None = None
    search: Mapping[str, Wanted] | None = None
    """Search attributes by name, all to be met: a value, or `Between`. Goes with ``workflow``, and
    with a store that offers SEARCH."""
    drivable: bool = False
    """Only live runs that nothing seems to drive: initiated or running, not skipped, the time of
    the next try unset or past by the store's clock, no row in the outbox."""
    order: SortOrder = SortOrder.OLDEST_FIRST
    after: str | None = None
    """``Page.next`` of the page before, for the same filters and order."""
    limit: int = 100
    """At most so many; 1 or more."""


class Page(Value, Generic[T], frozen=True, kw_only=True):
    """One page of an answer."""

    items: Sequence[T]
    next: str | None = None
    """Opaque: the next query's ``after``. None: this was the last page."""
