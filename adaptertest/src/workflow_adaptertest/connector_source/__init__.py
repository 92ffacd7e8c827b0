"""The contract of a connector source."""

from workflow_adaptertest.connector_source.arrival import ArrivalCases
from workflow_adaptertest.connector_source.cursors import CursorCases
from workflow_adaptertest.connector_source.members import MemberCases

__all__ = ["ConnectorSourceContract"]


class ConnectorSourceContract(ArrivalCases, CursorCases, MemberCases):
    """What every `ConnectorSource` does.

    Write ``adapter``, and ``feed``, which puts events into the foreign stream as its own writers
    do; see `Contract`.
    """
