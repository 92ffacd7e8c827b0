"""Contract suites that certify adapters of workflow-core.

Derive from the contract of your port in a class whose name begins with ``Test`` and answer your
adapter; pytest then runs every case against it.
"""

from workflow_adaptertest.connector_source import ConnectorSourceContract
from workflow_adaptertest.contract import Contract
from workflow_adaptertest.env import Env
from workflow_adaptertest.event_streamer import EventStreamerContract
from workflow_adaptertest.record_store import RecordStoreContract
from workflow_adaptertest.role_scheduler import RoleSchedulerContract
from workflow_adaptertest.timeout_store import TimeoutStoreContract
from workflow_adaptertest.versions import ContractWarning

__all__ = [
    "ConnectorSourceContract",
    "Contract",
    "ContractWarning",
    "Env",
    "EventStreamerContract",
    "RecordStoreContract",
    "RoleSchedulerContract",
    "TimeoutStoreContract",
]
