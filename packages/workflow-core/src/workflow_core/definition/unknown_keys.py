"""Keeps what newer code has put into a run's data while older code works on it.

Three trees of plain JSON values are compared: ``stored`` as it lies in the store, ``seen`` as this
code understood it (decoded and encoded again), ``new`` as the body left it. Keys that are in
``stored`` and not in ``seen`` are unknown here, and are put into ``new``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

__all__ = ["keep_unknown"]

Json: TypeAlias = Any  # as JSON has it: None, bool, int, float, str, list of these, dict of these

_fingerprint = msgspec.json.Encoder(order="sorted").encode


def keep_unknown(stored: Json, seen: Json, new: Json, tags: frozenset[str] = frozenset()) -> Json:
    """``new`` with the unknown keys of ``stored`` put back.

    Objects are matched by their path: a field's or a dict's value is the same object as before as
    long as it stands under the same key. An object whose tag has changed is another one.

    Elements of a list are matched only where that is safe, since what a body did to a list cannot
    be told from its values alone: one that is left as it was keeps its unknown keys wherever it
    went; one that was changed keeps them if a field tells it from all its neighbours before and
    after (an id, an article number). Elsewhere they are lost with the element.

    Args:
        stored: the tree with the unknown keys.
        seen: the same, without them.
        new: the tree to put them into.
        tags: keys whose values say of which kind an object is.
    """
    if stored == seen:
        return new
    if isinstance(stored, dict) and isinstance(seen, dict) and isinstance(new, dict):
        return _in_object(stored, seen, new, tags)
    if isinstance(stored, list) and isinstance(seen, list) and isinstance(new, list):
        return _in_list(stored, seen, new, tags)
    return new


def _in_object(
    stored: dict[str, Json], seen: dict[str, Json], new: dict[str, Json], tags: frozenset[str]
) -> Json:
    if any(seen.get(tag) != new.get(tag) for tag in tags):
        return new
    kept = {
        key: keep_unknown(stored[key], seen[key], value, tags)
        if key in seen and key in stored
        else value
        for key, value in new.items()
    }
    for key, value in stored.items():
        if key not in seen:
            kept.setdefault(key, value)
    return kept


def _in_list(
    stored: list[Json], seen: list[Json], new: list[Json], tags: frozenset[str]
) -> list[Json]:
    if len(stored) != len(seen):
        return new
    kept = list(new)
    for before, after in _same_elements(seen, new):
        # a set is decoded in any order: then what lies at one place is not one and the same
        if _agree(stored[before], seen[before]):
            kept[after] = keep_unknown(stored[before], seen[before], new[after], tags)
    return kept


def _agree(stored: Json, seen: Json) -> bool:
    """Whether ``seen`` can be what was made of ``stored``."""
    if isinstance(stored, dict) and isinstance(seen, dict):
        return all(_agree(stored[key], seen[key]) for key in stored.keys() & seen.keys())
    if isinstance(stored, list) and isinstance(seen, list):
        return len(stored) == len(seen) and all(map(_agree, stored, seen))
    return bool(stored == seen)


def _same_elements(seen: list[Json], new: list[Json]) -> Iterator[tuple[int, int]]:
    """Pairs of places, before and after, of what surely is the same element."""
    befores, afters = _places(map(_fingerprint, seen)), _places(map(_fingerprint, new))
    changed_before, changed_after = set(range(len(seen))), set(range(len(new)))
    for fingerprint, before in befores.items():
        after = afters.get(fingerprint, [])
        if len(before) == len(after):
            yield from zip(before, after, strict=True)
            changed_before.difference_update(before)
            changed_after.difference_update(after)
    by_id = _by_id(seen, new)
    yield from (
        (before, after)
        for before, after in by_id.items()
        if before in changed_before and after in changed_after
    )


def _places(values: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    places: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    return places


def _by_id(seen: list[Json], new: list[Json]) -> dict[int, int]:
    """Places before and after by the field that identifies the elements; {} if none surely does.

    Of several fields the one that finds most elements again, a text before a number; where equally
    good ones disagree, none.
    """
    if not all(isinstance(element, dict) for element in [*seen, *new]):
        return {}
    keys = set[str].intersection(*(set(element) for element in [*seen, *new])) if new else set()
    best: tuple[int, bool] = (0, False)
    found: dict[int, int] = {}
    for key in sorted(keys):
        before = {
            element[key]: place for place, element in enumerate(seen) if _can_name(element[key])
        }
        after = {
            element[key]: place for place, element in enumerate(new) if _can_name(element[key])
        }
        if (len(before), len(after)) != (len(seen), len(new)):
            continue
        pairs = {place: after[name] for name, place in before.items() if name in after}
        texts = all(isinstance(name, str) for name in before)
        # numbers that are only partly found again are counters as likely as they are ids
        if not texts and len(pairs) < min(len(before), len(after)):
            continue
        if (len(pairs), texts) > best:
            best, found = (len(pairs), texts), pairs
        elif (len(pairs), texts) == best and pairs != found:
            found = {}
    return found


def _can_name(value: Json) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)
