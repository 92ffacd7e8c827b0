"""The contract of a record store."""

from workflow_adaptertest.idle import IdleRecordStoreCases
from workflow_adaptertest.record_store.batches import BatchCases
from workflow_adaptertest.record_store.joined import JoinedReadCases
from workflow_adaptertest.record_store.moving import MovingCases
from workflow_adaptertest.record_store.outbox import OutboxCases
from workflow_adaptertest.record_store.queries import QueryCases
from workflow_adaptertest.record_store.search import SearchCases
from workflow_adaptertest.record_store.transactions import TransactionCases
from workflow_adaptertest.record_store.upkeep import UpkeepCases
from workflow_adaptertest.record_store.values import ValueCases
from workflow_adaptertest.record_store.writes import WriteCases

__all__ = ["RecordStoreContract"]


class RecordStoreContract(
    WriteCases,
    BatchCases,
    ValueCases,
    OutboxCases,
    QueryCases,
    UpkeepCases,
    TransactionCases,
    JoinedReadCases,
    SearchCases,
    MovingCases,
    IdleRecordStoreCases,
):
    """What every `RecordStore` does. Write ``adapter``; see `Contract`."""
