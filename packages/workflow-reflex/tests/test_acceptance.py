"""Whole workflows over Reflex's tables, on each database, beside a store and apart from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from workflow_adaptertest import Env
from workflow_adaptertest.acceptance import AcceptanceContract
from workflow_core.discovery import Adapters, Config
from workflow_sql import upgrade


class OnDatabase:
    database: str
    beside = True
    """Whether the record store is in the same database; else it is in a file."""

    @pytest.fixture(autouse=True)
    def _homes(self, new_home: Callable[[str], Any]) -> None:
        self._new_home = new_home

    @contextmanager
    def adapter(self, env: Env) -> Iterator[Adapters]:
        home = env.shared("home", lambda: self._new_home(self.database))
        url = home.url if self.beside else f"sqlite:///{env.folder / 'apart.db'}"
        env.shared("upgraded", lambda: upgrade(url, namespace=env.namespace))
        overrides = {
            "record_store": "sql",
            "event_streamer": "reflex",
            "role_scheduler": "sql",
            "timeout_store": "sql",
            "namespace": env.namespace,
            "adapters.sql.url": url,
            "adapters.reflex.url": home.url,
            "adapters.reflex.events_table": home.events,
            "adapters.reflex.cursors_table": home.cursors,
        }
        with Config.load(environ={}, overrides=overrides).build() as adapters:
            yield adapters


class TestReflexTogetherOnMysql(OnDatabase, AcceptanceContract):
    database = "mysql"


class TestReflexTogetherOnMariadb(OnDatabase, AcceptanceContract):
    database = "mariadb"


class TestReflexTogetherOnPostgres(OnDatabase, AcceptanceContract):
    database = "postgres"


class TestReflexTogetherOnSqlite(OnDatabase, AcceptanceContract):
    database = "sqlite"


class TestReflexApartOnMysql(OnDatabase, AcceptanceContract):
    database = "mysql"
    beside = False


class TestReflexApartOnSqlite(OnDatabase, AcceptanceContract):
    database = "sqlite"
    beside = False
