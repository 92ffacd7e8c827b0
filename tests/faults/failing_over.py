"""Pairs of a database server and its replica, for tests in which the replica takes over."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from workflow_adaptertest.servers import Server, Servers, usual_sources
from workflow_adaptertest.servers.proxies import Proxied

__all__ = ["MysqlPair", "Pair", "PostgresPair", "pair_of"]

PATIENCE = 60.0  # seconds after which something has gone wrong, however slow the machine


class Pair(ABC):
    """What a test does to a pair. The first node is the primary, until the other takes over."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._primary, self._replica = 0, 1

    @property
    @abstractmethod
    def url(self) -> str:
        """Leads to whichever takes writes, as the documentation advises."""

    @abstractmethod
    def lag(self) -> None:
        """The replica has what was committed so far, and receives no more."""

    @abstractmethod
    def _promote(self) -> None:
        """The replica takes writes."""

    def fail_over(self) -> None:
        """The primary is gone for good, and the replica takes its place."""
        self._server.kill(self._server.nodes[self._primary])
        self._promote()


class PostgresPair(Pair):
    """PostgreSQL: one url with two hosts."""

    @property
    def url(self) -> str:
        hosts = "&".join(f"host={host}:{port}" for host, port in self._server.url.addresses)
        return f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write"

    def wait_for_replica(self) -> None:
        """From now on a commit is answered when the replica has it."""
        with self._connect(self._primary) as primary:
            primary.execute("alter system set synchronous_standby_names = '*'")
            primary.execute("select pg_reload_conf()")

    def lag(self) -> None:
        with self._connect(self._primary) as primary:
            row = primary.execute("select pg_current_wal_lsn()::text").fetchone()
        with self._connect(self._replica) as replica:
            received = "select pg_last_wal_receive_lsn() >= %s::pg_lsn"
            _wait(lambda: replica.execute(received, row).fetchone() == (True,))
            replica.execute("alter system set primary_conninfo = ''")
            replica.execute("select pg_reload_conf()")
            receivers = "select count(*) from pg_stat_wal_receiver"
            _wait(lambda: replica.execute(receivers).fetchone() == (0,))

    def _promote(self) -> None:
        with self._connect(self._replica) as replica:
            replica.execute("select pg_promote()")

    def _connect(self, node: int) -> psycopg.Connection[Any]:
        url = str(self._server.url.at([self._server.url.addresses[node]]))
        return psycopg.connect(url, autocommit=True)


class MysqlPair(Pair):
    """MySQL or MariaDB: an address that moves."""

    def __init__(self, server: Server, address: Proxied) -> None:
        super().__init__(server)
        self._address = address
        self._is_mariadb = "mariadb" in server.name
        self._word = "slave" if self._is_mariadb else "replica"
        self._sessions = [
            pymysql.connect(host=host, port=port, user="root", autocommit=True)
            for host, port in server.url.addresses
        ]
        self._tell(self._primary, "create database orders character set utf8mb4")

    @property
    def url(self) -> str:
        url = self._address.url
        return str(url.at(url.addresses[:1]).inside("orders"))

    def lag(self) -> None:
        self._catch_up()
        self._tell(self._replica, f"stop {self._word}")

    def switch_over(self) -> None:
        """The replica takes over with all that there is, and the primary follows it then.

        Connections break in the midst of what they do, and some commits' answers are lost.
        """
        self._address.cut()
        _wait(self._is_at_rest)  # the old one learns that its clients are gone
        self._catch_up()
        self._tell(self._replica, f"stop {self._word}", f"reset {self._word} all")
        self._primary, self._replica = self._replica, self._primary
        self._follow()
        self._move()

    def _promote(self) -> None:
        self._move(self._replica)

    def _move(self, to: int | None = None) -> None:
        self._address.move(self._server.url.addresses[self._primary if to is None else to], only=0)

    def _follow(self) -> None:
        port = self._server.url.addresses[self._primary][1]
        if self._is_mariadb:  # its own writes are where it goes on
            [[position]] = self._ask(self._replica, "select @@gtid_binlog_pos")
            self._tell(self._replica, f"set global gtid_slave_pos = '{position}'")
        for statement in self._server.kind.follow:  # type: ignore[attr-defined]  # of these two
            self._tell(self._replica, statement.format(port=port))

    def _is_at_rest(self) -> bool:
        sessions = "select count(*) from information_schema.processlist where db is not null"
        return self._ask(self._primary, sessions) == [(0,)]

    def _catch_up(self) -> None:
        # each has its own writes in its log, and those of the other that it has applied
        done = "select @@gtid_current_pos" if self._is_mariadb else "select @@gtid_executed"
        wanted = self._ask(self._primary, done)
        if self._is_mariadb:
            [[position]] = wanted
            ask = f"select master_gtid_wait('{position}', {PATIENCE})"
        else:
            [[executed]] = wanted
            ask = f"select wait_for_executed_gtid_set('{executed}', {PATIENCE})"
        assert self._ask(self._replica, ask) == [(0,)]

    def _tell(self, node: int, *statements: str) -> None:
        for statement in statements:
            self._ask(node, statement)

    def _ask(self, node: int, statement: str) -> list[tuple[Any, ...]]:
        with self._sessions[node].cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def close(self) -> None:
        """Leave both."""
        for session in self._sessions:
            if session.open:
                session.close()


@contextmanager
def pair_of(kind: str, folder: Path, installed: Path) -> Iterator[Server]:
    """A primary and a replica of the test's own: what has taken over is no replica any more.

    Raises:
        NotAvailableError: it cannot be had here.
    """
    folder.mkdir()
    folder.joinpath("installed").symlink_to(installed)
    with Servers(usual_sources(folder, {})) as servers:
        server = servers.get(kind)
        yield server
        server.kill(*server.nodes)  # nobody needs its data any more


def _wait(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "the pair of servers does not do as it is told"
        time.sleep(0.02)
