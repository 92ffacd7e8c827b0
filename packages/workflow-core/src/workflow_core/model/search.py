"""What runs are found by: a few attributes of the user's data, as their workflow declares them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from workflow_core.model.value import Value

__all__ = ["Between", "SearchValue", "Wanted", "meets"]

SearchValue: TypeAlias = str | int | datetime
"""A text of up to 255 characters, a whole number of 64 bits, or an aware point in time."""


class Between(Value, frozen=True, kw_only=True):
    """A range, of values of one type. Texts go by their code points."""

    at_least: SearchValue | None = None
    """None: from the beginning."""
    below: SearchValue | None = None
    """Strictly; None: to the end."""


Wanted: TypeAlias = SearchValue | Between
"""This very value, or any in the range."""


def meets(found: Mapping[str, SearchValue], wanted: Mapping[str, Wanted]) -> bool:
    """Whether a run with the attributes `found` is one that is `wanted`, in every one of them."""
    return all(name in found and _fits(found[name], value) for name, value in wanted.items())


def _fits(found: SearchValue, wanted: Wanted) -> bool:
    if not isinstance(wanted, Between):
        return _of_a_kind(found, wanted) and found == wanted
    low, high = wanted.at_least, wanted.below
    return (low is None or _in_order(low, found)) and (
        high is None or (_of_a_kind(found, high) and not _in_order(high, found))
    )


def _in_order(first: SearchValue, second: SearchValue) -> bool:
    return _of_a_kind(first, second) and first <= second  # type: ignore[operator]


def _of_a_kind(one: SearchValue, other: SearchValue) -> bool:
    return any(isinstance(one, kind) and isinstance(other, kind) for kind in (str, int, datetime))
