"""A run's data as a tree, without what is masked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from workflow_core import Workflow
from workflow_core.errors import WorkflowError

__all__ = ["DataTree", "Masking", "Node", "data_tree"]

_MOST_NODES = 4_000
_MOST_DEEP = 60
_LONGEST_TEXT = 4_000
HIDDEN = "•••"


@dataclass(frozen=True)
class Masking:
    """Which fields are not shown; see `UiSettings.masked`."""

    patterns: Sequence[str]

    def hides(self, path: Sequence[str]) -> bool:
        """Whether the value at this path is hidden; lists have no names in a path."""
        name, whole = path[-1].lower(), ".".join(path).lower()
        return any(
            fnmatchcase(whole if "." in pattern else name, pattern.lower())
            for pattern in self.patterns
        )

    def masked(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        """The same value with the hidden ones replaced."""
        if isinstance(value, Mapping):
            return {
                key: HIDDEN if self.hides((*path, str(key))) else self.masked(item, (*path, key))
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.masked(item, path) for item in value]
        return value


@dataclass(frozen=True, kw_only=True)
class Node:
    """One value in the tree."""

    key: str
    """Its name in the object above, or its place in the list."""
    kind: str
    """``object``, ``list``, ``text``, ``number``, ``word`` (true, false, null) or ``hidden``."""
    text: str
    """The value, or of objects and lists how many values they hold."""
    children: Sequence[Node] = ()
    is_found: bool = False
    """It, or one below it, is what was looked for."""


@dataclass(frozen=True, kw_only=True)
class DataTree:
    """All of it, or why there is none."""

    root: Node | None
    size: int
    """Bytes as they are stored."""
    note: str = ""
    found: int = 0
    """How many values were found, where something was looked for."""


def data_tree(
    data: bytes, workflow: Workflow[Any, Any] | None, masking: Masking, find: str = ""
) -> DataTree:
    """The data of a run as it may be shown.

    Data of a codec of the user's own is read by it; where that cannot be, only the size is told.
    """
    if not data:
        return DataTree(root=None, size=0, note="There is no data.")
    try:
        value = _value(data, workflow)
    except (ValueError, WorkflowError, RecursionError):
        return DataTree(
            root=None, size=len(data), note="It is encoded in a way that cannot be read here."
        )
    growing = _Growing(masking, find.lower())
    root = growing.node("", value, ())
    note = "" if growing.left > 0 else f"Only the first {_MOST_NODES} values are shown."
    return DataTree(root=root, size=len(data), note=note, found=growing.found)


def _value(data: bytes, workflow: Workflow[Any, Any] | None) -> Any:
    try:
        return json.loads(data, parse_float=str, parse_constant=str)
    except ValueError:
        if workflow is None:
            raise
    # what JSON is to become of a value of any type, core's own codec knows best
    from workflow_core import JsonCodec

    codec: Any = JsonCodec(workflow.data_type)
    return json.loads(codec.encode(workflow.decode(data), None), parse_float=str)


class _Growing:
    def __init__(self, masking: Masking, find: str) -> None:
        self._masking = masking
        self._find = find
        self.left = _MOST_NODES
        self.found = 0

    def node(self, key: str, value: Any, path: tuple[str, ...], deep: int = 0) -> Node:
        self.left -= 1
        if path and key == path[-1] and self._masking.hides(path):
            return self._leaf(key, "hidden", HIDDEN)
        if isinstance(value, dict | list) and deep >= _MOST_DEEP:
            return self._leaf(key, "hidden", "…")
        if isinstance(value, dict):
            children = [
                self.node(str(name), item, (*path, str(name)), deep + 1)
                for name, item in value.items()
                if self.left > 0
            ]
            return self._branch(key, "object", f"{len(value)}", children)
        if isinstance(value, list):
            children = [
                self.node(str(place), item, path, deep + 1)
                for place, item in enumerate(value)
                if self.left > 0
            ]
            return self._branch(key, "list", f"{len(value)}", children)
        if isinstance(value, bool) or value is None:
            return self._leaf(key, "word", json.dumps(value))
        if isinstance(value, str):
            cut = value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}…"
            return self._leaf(key, "text", cut)
        return self._leaf(key, "number", str(value))

    def _leaf(self, key: str, kind: str, text: str) -> Node:
        shown = f"{key} {text}" if kind != "hidden" else key
        is_found = bool(self._find) and self._find in shown.lower()
        self.found += is_found
        return Node(key=key, kind=kind, text=text, is_found=is_found)

    def _branch(self, key: str, kind: str, text: str, children: Sequence[Node]) -> Node:
        named = bool(self._find) and self._find in key.lower()
        self.found += named
        is_found = named or any(child.is_found for child in children)
        return Node(key=key, kind=kind, text=text, children=children, is_found=is_found)
