"""Walks over pages, alone and of two sides at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from workflow_core.model import OutboxEvent, Page, Timeout
from workflow_core.ports import RecordStore, TimeoutStore

__all__ = ["batches", "outbox_page", "pages", "paired", "rows", "timeouts_page"]

T = TypeVar("T")


def pages(ask: Callable[[str | None], Page[T]]) -> Iterator[Sequence[T]]:
    """The items of each page, given how to ask for the one after a place."""
    after: str | None = None
    while True:
        page = ask(after)
        yield page.items
        if page.next is None:
            return
        after = page.next


def rows(ask: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All items, one by one."""
    for items in pages(ask):
        yield from items


def paired(
    mine: Iterator[T], theirs: Iterator[T], key: Callable[[T], str]
) -> Iterator[tuple[T | None, T | None]]:
    """Both sides by key, each in order of it: what only one has goes with None.

    An item that one side inserts or deletes meanwhile may or may not be seen.
    """
    left, right = next(mine, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and key(left) < key(right)):
            yield left, None
            left = next(mine, None)
        elif left is None or key(right) < key(left):
            yield None, right
            right = next(theirs, None)
        else:
            yield left, right
            left, right = next(mine, None), next(theirs, None)


def batches(items: Iterator[T], size: int) -> Iterator[Sequence[T]]:
    """So many at a time."""
    while batch := list(islice(items, size)):
        yield batch


def timeouts_page(
    store: TimeoutStore, workflow: str, limit: int, after: str | None
) -> Page[Timeout]:
    """Open timers, for `pages` and `rows` once all but the last is given."""
    return store.list_timeouts(workflow, after=after, limit=limit)


def outbox_page(store: RecordStore, limit: int, after: str | None) -> Page[OutboxEvent]:
    """The outbox, likewise."""
    return store.list_outbox(after=after, limit=limit)
