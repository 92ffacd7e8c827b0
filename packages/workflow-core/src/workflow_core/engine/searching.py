"""Search attributes on their way into the store and into its queries."""

from __future__ import annotations

from typing import Any

from workflow_core.definition import Workflow
from workflow_core.definition.search import check_wanted
from workflow_core.errors import InputError, NotSupportedError
from workflow_core.model import Record, RecordQuery
from workflow_core.model.texts import checked_text
from workflow_core.ports import Capability, RecordStore, Write

__all__ = ["checked_query", "searchable"]


def searchable(
    write: Write, workflow: Workflow[Any, Any], data: Any, before: Record | None = None
) -> Write:
    """The write, with the attributes of the data that it saves where they are others than before.

    Without a declaration, now or when the run was written last, it costs next to nothing.

    Raises:
        PayloadError: an attribute of the data cannot be searched for.
    """
    known = {} if before is None else before.search
    if not workflow.attributes and not known:
        return write
    if before is not None and write.record.data is before.data:
        return write  # nothing of the data is saved
    found = workflow.attributes.of(data, write.record.run_id)
    return write if found == known else write.replace(search=found)


def checked_query(store: RecordStore, query: RecordQuery) -> RecordQuery:
    """The query as the store can take it.

    Raises:
        InputError: a name, an id or a search attribute that no run can have, or attributes without
            their workflow.
        NotSupportedError: the store offers no SEARCH.
    """
    checked_text(query.workflow or "", "a workflow's name")
    checked_text(query.foreign_id or "", "a foreign id")
    for run_id in query.run_ids or ():
        checked_text(run_id, "a run id")
    if not query.search:
        return query if query.search is None else query.replace(search=None)
    if Capability.SEARCH not in store.capabilities:
        raise NotSupportedError(
            f"{type(store).__name__} cannot search by attributes",
            hint="Choose a record store that can, such as sql or memory",
        )
    if query.workflow is None:
        raise InputError(
            "search attributes are a workflow's own: name the workflow beside them",
            hint='Write RecordQuery(workflow="…", search={…})',
        )
    return query.replace(search=check_wanted(query.search))
