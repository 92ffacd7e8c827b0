"""Looking runs up where a replica may answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workflow_core.model import Event, Record
from workflow_core.ports import RecordStore

__all__ = ["latest_versions", "look_up"]


def look_up(store: RecordStore, wanted: Mapping[str, int]) -> dict[str, Record]:
    """The runs that exist, by id; `wanted` says for each the version that is known to be there.

    A replica may lag: only the primary is believed that a run is gone, or older than is known.

    Raises:
        AdapterUnavailableError: no answer.
    """
    found = dict(store.lookup_many(list(wanted)))
    unsure = [
        run_id
        for run_id, version in wanted.items()
        if run_id not in found or found[run_id].version < version
    ]
    if unsure:
        found.update(store.lookup_many(unsure, primary=True))
    return found


def latest_versions(events: Iterable[Event]) -> dict[str, int]:
    """The runs that these events are about, each with the latest version that one of them knows."""
    versions: dict[str, int] = {}
    for event in events:
        versions[event.run_id] = max(event.version, versions.get(event.run_id, 0))
    return versions
