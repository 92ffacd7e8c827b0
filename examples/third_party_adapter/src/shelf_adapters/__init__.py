"""A record store in one file of keys and values, and an event streamer on plain files."""

from shelf_adapters.event_streamer import FilesEventStreamer, FilesSettings
from shelf_adapters.record_store import ShelfRecordStore, ShelfSettings

__all__ = ["FilesEventStreamer", "FilesSettings", "ShelfRecordStore", "ShelfSettings"]
