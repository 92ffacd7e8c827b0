"""Contract suites that certify adapters of workflow-core.

Derive from the contract of your port in a class whose name begins with ``Test`` and answer your
adapter; pytest then runs every case against it.
"""

from workflow_adaptertest.contract import Contract
from workflow_adaptertest.env import Env
from workflow_adaptertest.record_store import RecordStoreContract

__all__ = ["Contract", "Env", "RecordStoreContract"]
