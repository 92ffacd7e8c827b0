"""The whole of what the suite asks of an adapter's author."""

from contextlib import AbstractContextManager

from shelf_adapters import FilesEventStreamer, FilesSettings, ShelfRecordStore, ShelfSettings
from workflow_adaptertest import Env, EventStreamerContract, RecordStoreContract


class TestShelfRecordStore(RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[ShelfRecordStore]:
        return ShelfRecordStore(ShelfSettings(env.folder), env.context())


class TestFilesEventStreamer(EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[FilesEventStreamer]:
        return FilesEventStreamer(FilesSettings(env.folder), env.context())
