"""Who does what."""

from workflow_sql.roles.scheduler import SqlRoleScheduler

__all__ = ["SqlRoleScheduler"]
