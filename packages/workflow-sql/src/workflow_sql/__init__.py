"""workflow-core's four ports in one SQL database."""

from workflow_sql.database import Database
from workflow_sql.events import SqlEventStreamer
from workflow_sql.migrations import State, current, sql, upgrade
from workflow_sql.records import SqlRecordStore
from workflow_sql.roles import SqlRoleScheduler
from workflow_sql.settings import History, SqlSettings, Synchronous
from workflow_sql.timeouts import SqlTimeoutStore

__all__ = [
    "Database",
    "History",
    "SqlEventStreamer",
    "SqlRecordStore",
    "SqlRoleScheduler",
    "SqlSettings",
    "SqlTimeoutStore",
    "State",
    "Synchronous",
    "current",
    "sql",
    "upgrade",
]
