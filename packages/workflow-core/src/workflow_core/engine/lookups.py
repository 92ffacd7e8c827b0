"""Looking runs up where a replica may answer."""

from __future__ import annotations

from collections.abc import Mapping

from workflow_core.model import Record
from workflow_core.ports import RecordStore

__all__ = ["look_up"]


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
