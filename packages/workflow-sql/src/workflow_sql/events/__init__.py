"""How events travel."""

from workflow_sql.events.streamer import SqlEventStreamer

__all__ = ["SqlEventStreamer"]
