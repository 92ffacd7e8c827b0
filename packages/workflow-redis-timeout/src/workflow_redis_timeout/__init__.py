"""workflow-core's timeout store in Redis."""

from workflow_redis_timeout.settings import RedisSettings
from workflow_redis_timeout.store import RedisTimeoutStore

__all__ = ["RedisSettings", "RedisTimeoutStore"]
