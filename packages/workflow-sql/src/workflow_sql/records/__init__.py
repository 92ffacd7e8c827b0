"""Where runs live."""

from workflow_sql.records.store import SqlRecordStore
from workflow_sql.records.transaction import SqlTransaction

__all__ = ["SqlRecordStore", "SqlTransaction"]
