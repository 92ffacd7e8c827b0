"""Which runs have which value of a search attribute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from workflow_core.model import Between, Record, SearchValue, Wanted

__all__ = ["SearchIndex"]

_Key: TypeAlias = tuple[str, str, SearchValue]  # workflow, name, value


class SearchIndex:
    """Finds runs by one exact value; the database's lock is held."""

    def __init__(self) -> None:
        self._runs: dict[_Key, set[str]] = {}

    def change(self, record: Record, before: Mapping[str, SearchValue]) -> None:
        """The run had the attributes `before`, and has those of the record now."""
        if before is record.search or before == record.search:
            return
        for key in _keys(record.workflow, before):
            self._runs[key].discard(record.run_id)
            if not self._runs[key]:
                del self._runs[key]
        for key in _keys(record.workflow, record.search):
            self._runs.setdefault(key, set()).add(record.run_id)

    def runs(self, workflow: str, wanted: Mapping[str, Wanted]) -> set[str] | None:
        """Runs among which all are that are wanted; None: no exact value is."""
        exact = [
            self._runs.get((workflow, name, value), set())
            for name, value in wanted.items()
            if not isinstance(value, Between)
        ]
        return min(exact, key=len, default=None)


def _keys(workflow: str, attributes: Mapping[str, SearchValue]) -> Iterable[_Key]:
    return ((workflow, name, value) for name, value in attributes.items())
