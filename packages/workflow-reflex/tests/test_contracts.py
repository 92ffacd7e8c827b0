"""Each database certified by the contracts of both ports."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event
from workflow_adaptertest import ConnectorSourceContract, Env, EventStreamerContract
from workflow_core.model import ConnectorEvent
from workflow_core.ports import AdapterContext
from workflow_reflex import ReflexConnectorSource, ReflexEventStreamer, ReflexSourceSettings
from workflow_sql import SqlRecordStore, SqlSettings, upgrade


class OnDatabase:
    """In tables that are there already: to make them for each case would take minutes."""

    database: str

    @pytest.fixture(autouse=True)
    def _homes(self, new_home: Callable[[str], Any], request: pytest.FixtureRequest) -> Any:
        self._new_home = new_home
        self._asked = 0

        def count(*_: object) -> None:
            self._asked += 1

        event.listen(Engine, "before_cursor_execute", count)
        yield
        event.remove(Engine, "before_cursor_execute", count)

    def operations(self, env: Env) -> Callable[[], int]:
        """All statements of the streamer's."""
        return lambda: self._asked

    def home(self, env: Env) -> Any:
        return env.shared("home", lambda: self._new_home(self.database))

    @contextmanager
    def context(self, env: Env) -> Iterator[AdapterContext]:
        with AdapterContext(
            instance=env.new_instance(), namespace=env.namespace, clock=env.clock
        ) as context:
            yield context


class StreamerOnDatabase(OnDatabase):
    @contextmanager
    def adapter(self, env: Env) -> Iterator[ReflexEventStreamer]:
        settings = self.home(env).settings()
        with (
            self.context(env) as context,
            ReflexEventStreamer.from_config(settings, context) as streamer,
        ):
            yield streamer

    def joined_store(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        """In tables of its own, the same ones for all cases: it is the store of another wheel."""
        url = self.home(env).settings().url
        upgrade(url.reveal())
        context = AdapterContext(instance=env.new_instance(), clock=env.clock)
        return self._made(SqlSettings(url=url), context)

    @contextmanager
    def _made(self, settings: SqlSettings, context: AdapterContext) -> Iterator[SqlRecordStore]:
        with context:
            yield SqlRecordStore.from_config(settings, context)


class SourceOnDatabase(OnDatabase):
    @contextmanager
    def adapter(self, env: Env) -> Iterator[ReflexConnectorSource]:
        home = self.home(env)
        settings = ReflexSourceSettings(
            url=home.settings().url, events_table=home.events, cursors_table=home.cursors
        )
        with (
            self.context(env) as context,
            ReflexConnectorSource.from_config(settings, context) as source,
        ):
            yield source

    def feed(self, env: Env, events: Sequence[ConnectorEvent]) -> None:
        home = self.home(env)
        with home.engine.begin() as connection:
            for each in events:
                metadata = each.value
                if each.headers:
                    value = base64.b64encode(each.value).decode()
                    metadata = json.dumps({**each.headers, "event_value": value}).encode()
                home.insert(connection, metadata, key=each.key)


class TestReflexEventStreamerOnSqlite(StreamerOnDatabase, EventStreamerContract):
    database = "sqlite"


class TestReflexEventStreamerOnMysql(StreamerOnDatabase, EventStreamerContract):
    database = "mysql"


class TestReflexEventStreamerOnMariadb(StreamerOnDatabase, EventStreamerContract):
    database = "mariadb"


class TestReflexEventStreamerOnPostgres(StreamerOnDatabase, EventStreamerContract):
    database = "postgres"


class TestReflexConnectorSourceOnSqlite(SourceOnDatabase, ConnectorSourceContract):
    database = "sqlite"


class TestReflexConnectorSourceOnMysql(SourceOnDatabase, ConnectorSourceContract):
    database = "mysql"


class TestReflexConnectorSourceOnMariadb(SourceOnDatabase, ConnectorSourceContract):
    database = "mariadb"


class TestReflexConnectorSourceOnPostgres(SourceOnDatabase, ConnectorSourceContract):
    database = "postgres"
