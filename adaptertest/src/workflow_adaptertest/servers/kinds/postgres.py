"""PostgreSQL: alone, with encryption and a password, and with a streaming replica."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

from workflow_adaptertest.servers.errors import DidNotStartError
from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.kinds.certificates import certify
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.postgres import server_version
from workflow_adaptertest.servers.recipes import Recipe, SystemPackages, run
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["Postgres", "PostgresReplica", "PostgresSecure"]

_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin")
_STREAMING_SECONDS = 30.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may not be longer than about 100 characters
    "max_connections": "200",
    # a killed process loses nothing that it handed to the system; only a killed machine would
    "fsync": "off",
    "full_page_writes": "off",
    "wal_retrieve_retry_interval": "200ms",  # a replica whose primary was away: 5 s by default
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}


class Postgres(Kind):
    """One PostgreSQL; its superuser ``postgres`` needs no password."""

    title = "postgres"
    port_names: ClassVar[Sequence[str]] = ("primary",)
    default_port = 5432
    needs: ClassVar[tuple[Recipe, ...]] = (
        SystemPackages(("postgresql",), ("postgres", "initdb", "psql"), _FOLDERS),
    )
    image: ClassVar[Image | None] = Image(
        "postgres:17", 5432, {"POSTGRES_HOST_AUTH_METHOD": "trust"}
    )

    def nodes(self, place: Place) -> list[Node]:
        return [self._node(place, name) for name in self.port_names]

    def prepare(self, node: Node, place: Place) -> None:
        if not node.data.exists():
            new = place.remade(node.data)
            options = ["-U", "postgres", "-N", "-E", "UTF8", "--locale=C.UTF-8"]
            options += self._admission(node)
            initdb = place.tools.need("initdb", *_FOLDERS)
            run([initdb, *options, "-D", str(new)], folder=node.folder, user=node.user)
            new.rename(node.data)
        # left by a kill; the process that it names may be somebody else's by now
        node.data.joinpath("postmaster.pid").unlink(missing_ok=True)

    def url(self, place: Place) -> ServerUrl:
        addresses = [("127.0.0.1", place.ports[name]) for name in self.port_names]
        return ServerUrl(scheme="postgresql", addresses=addresses, user="postgres", path="postgres")

    def hello(self, url: ServerUrl) -> str:
        return server_version(
            url.address, user=url.user or "postgres", database=url.path or "postgres"
        )

    def version(self, tools: Tools) -> str:
        return run([tools.need("postgres", *_FOLDERS), "--version"]).split()[2]

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        first = url.at([url.address])
        return [tools.need("psql", *_FOLDERS), "-X", "-q", "-A", "-t", "-d", str(first)]

    @contextmanager
    def own_space(self, url: ServerUrl, name: str, tools: Tools) -> Iterator[ServerUrl]:
        psql = self.client(url, tools)
        run([*psql, "-c", f'create database "{name}"'])
        try:
            yield url.inside(name)
        finally:
            run([*psql, "-c", f'drop database if exists "{name}" with (force)'])

    def _node(self, place: Place, name: str) -> Node:
        user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        port = place.ports[name]
        node = Node(
            name=name,
            folder=hand_over(place.folder / name, user),
            port=port,
            user=user,
            stop_signal="SIGINT",  # fast: open sessions are ended, not waited for
            disk_megabytes=self.disk_megabytes,
        )
        chosen = {**_SETTINGS, **self._more(node)}
        settings = [word for key, value in chosen.items() for word in ("-c", f"{key}={value}")]
        postgres = place.tools.need("postgres", *_FOLDERS)
        return node.running(postgres, "-D", str(node.data), "-p", str(port), *settings)

    def _admission(self, node: Node) -> list[str]:
        """How it lets users in, as initdb is told."""
        return ["-A", "trust"]

    def _more(self, node: Node) -> Mapping[str, str]:
        return {}


class PostgresSecure(Postgres):
    """The same with TLS, and a password for its superuser; its ``ca.pem`` signs the server."""

    title = "postgres-secure"
    needs = (*Postgres.needs, SystemPackages(("openssl",), ("openssl",)))
    image = None
    password = "not a secret"

    def prepare(self, node: Node, place: Place) -> None:
        certify(node.folder, place.tools)
        key = node.folder / "server.key"
        key.chmod(0o600)  # the server takes no other
        if node.user is not None:
            shutil.chown(key, node.user)
        super().prepare(node, place)

    def url(self, place: Place) -> ServerUrl:
        plain = super().url(place)
        authority = self._node(place, "primary").folder / "ca.pem"
        query = {"sslmode": "verify-full", "sslrootcert": str(authority)}
        return replace(plain, password=self.password, query=query)

    def _admission(self, node: Node) -> list[str]:
        file = node.folder / "password"
        file.write_text(self.password, encoding="ascii")
        return ["-A", "scram-sha-256", f"--pwfile={file}"]

    def _more(self, node: Node) -> Mapping[str, str]:
        return {
            "ssl": "on",
            "ssl_cert_file": str(node.folder / "server.crt"),
            "ssl_key_file": str(node.folder / "server.key"),
        }


class PostgresReplica(Postgres):
    """A primary and a replica that streams from it; the URL names the primary first."""

    title = "postgres-replica"
    port_names = ("primary", "replica")
    image = None
    one_by_one = True

    def prepare(self, node: Node, place: Place) -> None:
        if node.name == "replica" and not node.data.exists():
            new = place.remade(node.data)
            source = ["-h", "127.0.0.1", "-p", str(place.ports["primary"]), "-U", "postgres"]
            copy = [place.tools.need("pg_basebackup", *_FOLDERS), *source, "-c", "fast", "-R"]
            run([*copy, "-D", str(new)], folder=node.folder, user=node.user)
            new.rename(node.data)
        super().prepare(node, place)

    def form(self, place: Place) -> None:
        ask = "select count(*) from pg_stat_replication where state = 'streaming'"
        deadline = time.monotonic() + _STREAMING_SECONDS
        while run([*self.client(self.url(place), place.tools), "-c", ask]).strip() != "1":
            if time.monotonic() > deadline:
                raise DidNotStartError("the replica does not stream from its primary")
            time.sleep(0.05)
