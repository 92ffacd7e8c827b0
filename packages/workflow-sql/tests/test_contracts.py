"""Each database certified by the contracts of all four ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import make_url
from workflow_adaptertest import (
    Env,
    EventStreamerContract,
    RecordStoreContract,
    RoleSchedulerContract,
    TimeoutStoreContract,
)
from workflow_adaptertest.servers import Proxied, Server
from workflow_core.ports import AdapterContext, RoleScheduler, Secret
from workflow_sql import (
    SqlEventStreamer,
    SqlRecordStore,
    SqlRoleScheduler,
    SqlSettings,
    SqlTimeoutStore,
)
from workflow_sql.dialects.mysql_line import MysqlCursor
from workflow_sql.dialects.postgres_line import PostgresCursor

Factory = Callable[[SqlSettings, AdapterContext], Any]


class OnSqlite:
    """In a file of the case's own."""

    @contextmanager
    def made(self, env: Env, factory: Factory) -> Iterator[Any]:
        url = Secret(f"sqlite:///{env.folder / 'workflow.db'}")
        yield factory(SqlSettings(url=url), env.context())


class OnServer:
    """In tables that are there already: to make them for each case would take minutes."""

    server: str

    @pytest.fixture(autouse=True)
    def _homes(self, new_home: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self._new_home = new_home
        self._asked = 0
        for kind in (PostgresCursor, MysqlCursor):
            monkeypatch.setattr(kind, "execute", self._counting(kind.execute))

    def _counting(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._asked += 1
            return execute(*arguments, **options)

        return counted

    def operations(self, env: Env) -> Callable[[], int]:
        """All statements; begin and commit are not among them, and at rest there are none."""
        return lambda: self._asked

    @contextmanager
    def made(self, env: Env, factory: Factory) -> Iterator[Any]:
        home = env.shared("home", lambda: self._new_home(self.server))
        settings = SqlSettings(url=Secret(home.url))
        instance = env.new_instance()
        with AdapterContext(
            instance=instance, namespace=home.namespace, clock=env.clock
        ) as context:
            yield factory(settings, context)


class OnPostgres(OnServer):
    server = "postgres"


class OnMysql(OnServer):
    server = "mysql"


class OnMariadb(OnServer):
    server = "mariadb"


class Crashing:
    def crash(self, env: Env, handle: RoleScheduler) -> timedelta:
        """By a clock that a test moves nobody renews but who asks for roles."""
        return timedelta(seconds=15)


class Cut(Crashing, OnServer):
    """Each handle goes its own way to the server, which can be cut."""

    @pytest.fixture(autouse=True)
    def _ways(self, request: pytest.FixtureRequest) -> Iterator[None]:
        server: Server = request.getfixturevalue(f"{self.server}_server")
        toxiproxy: Server = request.getfixturevalue("toxiproxy_server")
        self.ways: dict[RoleScheduler, Proxied] = {}
        with ExitStack() as proxies:
            self.new_way: Callable[[], Proxied] = lambda: proxies.enter_context(
                server.behind(toxiproxy)
            )
            yield

    @contextmanager
    def adapter(self, env: Env) -> Iterator[SqlRoleScheduler]:
        way = self.new_way()
        ((host, port),) = way.url.addresses

        def factory(settings: SqlSettings, context: AdapterContext) -> SqlRoleScheduler:
            url = make_url(settings.url.reveal()).set(host=host, port=port)
            told = Secret(url.render_as_string(hide_password=False))
            return SqlRoleScheduler.from_config(replace(settings, url=told), context)

        with self.made(env, factory) as handle:
            self.ways[handle] = way
            yield handle

    @contextmanager
    def cut_off(self, env: Env, handle: RoleScheduler) -> Iterator[timedelta]:
        self.ways[handle].cut()
        yield self.crash(env, handle)
        self.ways[handle].mend()


class TestSqlRecordStoreOnSqlite(OnSqlite, RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlEventStreamerOnSqlite(OnSqlite, EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlEventStreamer]:
        return self.made(env, SqlEventStreamer.from_config)

    def joined_store(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlRoleSchedulerOnSqlite(Crashing, OnSqlite, RoleSchedulerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRoleScheduler]:
        return self.made(env, SqlRoleScheduler.from_config)


class TestSqlTimeoutStoreOnSqlite(OnSqlite, TimeoutStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlTimeoutStore]:
        return self.made(env, SqlTimeoutStore.from_config)


class TestSqlRecordStoreOnPostgres(OnPostgres, RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlRoleSchedulerOnPostgres(Cut, OnPostgres, RoleSchedulerContract):
    pass


class TestSqlTimeoutStoreOnPostgres(OnPostgres, TimeoutStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlTimeoutStore]:
        return self.made(env, SqlTimeoutStore.from_config)


class TestSqlRecordStoreOnMysql(OnMysql, RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlRoleSchedulerOnMysql(Cut, OnMysql, RoleSchedulerContract):
    pass


class TestSqlTimeoutStoreOnMysql(OnMysql, TimeoutStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlTimeoutStore]:
        return self.made(env, SqlTimeoutStore.from_config)


class TestSqlRecordStoreOnMariadb(OnMariadb, RecordStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlRoleSchedulerOnMariadb(Cut, OnMariadb, RoleSchedulerContract):
    pass


class TestSqlTimeoutStoreOnMariadb(OnMariadb, TimeoutStoreContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlTimeoutStore]:
        return self.made(env, SqlTimeoutStore.from_config)


class TestSqlEventStreamerOnPostgres(OnPostgres, EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlEventStreamer]:
        return self.made(env, SqlEventStreamer.from_config)

    def joined_store(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlEventStreamerOnMysql(OnMysql, EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlEventStreamer]:
        return self.made(env, SqlEventStreamer.from_config)

    def joined_store(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)


class TestSqlEventStreamerOnMariadb(OnMariadb, EventStreamerContract):
    def adapter(self, env: Env) -> AbstractContextManager[SqlEventStreamer]:
        return self.made(env, SqlEventStreamer.from_config)

    def joined_store(self, env: Env) -> AbstractContextManager[SqlRecordStore]:
        return self.made(env, SqlRecordStore.from_config)
