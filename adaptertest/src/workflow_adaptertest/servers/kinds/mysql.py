"""MySQL and MariaDB: one protocol, two servers; each alone, and with a replica."""

from __future__ import annotations

import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from workflow_adaptertest.servers.errors import DidNotStartError
from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.kinds.certificates import certify
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.mysql import server_version
from workflow_adaptertest.servers.recipes import PrivateDebian, SystemPackages, run
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["MariaDb", "MariaDbReplica", "MySql", "MySqlReplica"]

_SETTINGS = (
    "--bind-address=127.0.0.1",
    "--socket=server.sock",  # beside the data: a socket's whole path may not be long
    "--pid-file=server.pid",
    "--max-connections=200",
    "--skip-name-resolve",
    "--max-connect-errors=1000000",  # who only asks for the greeting is counted as an error
    "--performance-schema=OFF",  # hundreds of megabytes for what no test looks at
    # a killed process loses nothing that it handed to the system; only a killed machine would
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-buffer-pool-size=64M",
)
_TLS = {"ca": "ca.pem", "cert": "server.crt", "key": "server.key"}  # whoever wants it
_REPLICATING_SECONDS = 30.0
_THREADS = 2  # of a replica: one receives, one applies
_OPENSSL = SystemPackages(("openssl",), ("openssl",))


class _Family(Kind):
    port_names: ClassVar[Sequence[str]] = ("primary",)
    default_port = 3306
    scheme: ClassVar[str]

    def nodes(self, place: Place) -> list[Node]:
        return [self._node(place, name) for name in self.port_names]

    def _node(self, place: Place, name: str) -> Node:
        port = place.ports[name]
        node = Node(
            name=name,
            folder=hand_over(place.folder / name, None),
            port=port,
            disk_megabytes=self.disk_megabytes,
        )
        server = [*self._server(place.tools), f"--datadir={node.data}", f"--port={port}"]
        tls = [f"--ssl-{what}={node.folder / file}" for what, file in _TLS.items()]
        return node.running(*server, _temporary(node), *tls, *_SETTINGS, *self._log(node))

    def prepare(self, node: Node, place: Place) -> None:
        certify(node.folder, place.tools)
        node.folder.joinpath("tmp").mkdir(exist_ok=True)
        if not node.data.exists():
            new = place.remade(node.data)
            self._make(new, node, place)
            new.rename(node.data)
        # left by a kill; the process that it names may be somebody else's, or not yet reaped
        node.data.joinpath("server.sock.lock").unlink(missing_ok=True)

    def url(self, place: Place) -> ServerUrl:
        addresses = [("127.0.0.1", place.ports[name]) for name in self.port_names]
        return ServerUrl(scheme=self.scheme, addresses=addresses, user="root", path="mysql")

    def hello(self, url: ServerUrl) -> str:
        return server_version(url.address)

    def client(self, url: ServerUrl, tools: Tools) -> list[str]:
        host, port = url.address
        where = ["--protocol=tcp", f"--host={host}", f"--port={port}", f"--user={url.user}"]
        if url.password:
            where.append(f"--password={url.password}")
        program = self._client(tools)
        return [*program, "--no-defaults", "--batch", "-N", *where, f"--database={url.path}"]

    @contextmanager
    def own_space(self, url: ServerUrl, name: str, tools: Tools) -> Iterator[ServerUrl]:
        client = [word for word in self.client(url, tools) if not word.startswith("--database=")]
        run([*client, "-e", f"create database `{name}` character set utf8mb4"])
        try:
            yield url.inside(name)
        finally:
            run([*client, "-e", f"drop database if exists `{name}`"])

    def _make(self, data: Path, node: Node, place: Place) -> None:
        initialise = [*self._initialise(node, place.tools), _temporary(node)]
        run([*initialise, f"--datadir={data}"], folder=node.folder)

    def _log(self, node: Node) -> Sequence[str]:
        """The options of the log that replicas follow."""
        return ("--skip-log-bin",)

    @abstractmethod
    def _server(self, tools: Tools) -> list[str]: ...

    @abstractmethod
    def _client(self, tools: Tools) -> list[str]: ...

    @abstractmethod
    def _initialise(self, node: Node, tools: Tools) -> list[str]: ...


class _Replicated(_Family):
    """A primary and a replica that follows it, by ids of transactions. Each writes a log."""

    port_names = ("primary", "replica")
    image: ClassVar[Image | None] = None
    follow: ClassVar[Sequence[str]]
    """What makes a replica follow the server at ``{port}``."""
    status: ClassVar[str]
    """What tells how the replica does, and in its answer that both its threads run."""

    def _make(self, data: Path, node: Node, place: Place) -> None:
        # made once: two servers that follow each other's transactions must begin as one
        first = place.folder / "first"
        if not first.exists():
            new = place.remade(first)
            super()._make(new, node, place)
            new.joinpath("auto.cnf").unlink(missing_ok=True)  # by which they would be the same
            new.rename(first)
        shutil.copytree(first, data)

    def _log(self, node: Node) -> Sequence[str]:
        number = self.port_names.index(node.name) + 1
        return ("--log-bin=binlog", f"--server-id={number}", "--sync-binlog=0")

    def form(self, place: Place) -> None:
        url = self.url(place)
        replica = [*self.client(url.at(url.addresses[1:]), place.tools), "-e"]
        if not run([*replica, self.status]):
            for statement in self.follow:
                run([*replica, statement.format(port=place.ports["primary"])])
        deadline = time.monotonic() + _REPLICATING_SECONDS
        while run([*replica, self.status]).split("\t").count("Yes") < _THREADS:
            if time.monotonic() > deadline:
                raise DidNotStartError("the replica does not follow its primary")
            time.sleep(0.05)


def _temporary(node: Node) -> str:
    """A folder of its own: a MariaDB that starts removes the temporary tables that it finds."""
    return f"--tmpdir={node.folder / 'tmp'}"


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


class MariaDb(_Family):
    """One MariaDB; ``root`` needs no password."""

    title = "mariadb"
    scheme = "mariadb"
    needs = (
        SystemPackages(
            ("mariadb-server-core", "mariadb-client-core"),
            ("mariadbd", "mariadb-install-db", "mariadb"),
        ),
        _OPENSSL,
    )
    image: ClassVar[Image | None] = Image(
        "mariadb:11", 3306, {"MARIADB_ALLOW_EMPTY_ROOT_PASSWORD": "1"}
    )

    def version(self, tools: Tools) -> str:
        words = run([tools.need("mariadbd"), "--no-defaults", "--version"]).split()
        return words[words.index("Ver") + 1].partition("-")[0]

    def _server(self, tools: Tools) -> list[str]:
        logs = ["--innodb-log-file-size=16M"]
        return [tools.need("mariadbd"), "--no-defaults", *_as_root(), *logs]

    def _client(self, tools: Tools) -> list[str]:
        return [tools.need("mariadb")]

    def _initialise(self, node: Node, tools: Tools) -> list[str]:
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", *_as_root()]
        logs = ["--innodb-log-file-size=16M"]
        return [tools.need("mariadb-install-db"), "--no-defaults", *options, *logs]


class MySql(_Family):
    """One MySQL 9; ``root`` needs no password. Stable Debian has none, so it is unpacked apart."""

    title = "mysql"
    scheme = "mysql"
    needs = (
        _SID := PrivateDebian(
            "mysql-9", suite="sid", packages=("mysql-server-core", "mysql-client-core")
        ),
        _OPENSSL,
    )
    image: ClassVar[Image | None] = Image("mysql:9", 3306, {"MYSQL_ALLOW_EMPTY_PASSWORD": "1"})

    def version(self, tools: Tools) -> str:
        words = run([*self._run(tools, "sbin/mysqld"), "--no-defaults", "--version"]).split()
        return words[words.index("Ver") + 1].partition("-")[0]

    def _server(self, tools: Tools) -> list[str]:
        share = self._prefix(tools) / "share" / "mysql"
        return [
            *self._run(tools, "sbin/mysqld"),
            "--no-defaults",
            *_as_root(),
            f"--basedir={self._prefix(tools)}",
            f"--lc-messages-dir={share}",
            "--secure-file-priv=",
            "--mysqlx=0",
            "--innodb-redo-log-capacity=16M",
        ]

    def _client(self, tools: Tools) -> list[str]:
        return self._run(tools, "bin/mysql")

    def _initialise(self, node: Node, tools: Tools) -> list[str]:
        # by itself it lets root in from "localhost" only, and no name is looked up for an address
        first = node.folder / "first.sql"
        first.write_text(
            "create user 'root'@'127.0.0.1';\n"
            "grant all on *.* to 'root'@'127.0.0.1' with grant option;\n",
            encoding="ascii",
        )
        options = ["--skip-log-bin", "--initialize-insecure", f"--init-file={first}"]
        return [*self._server(tools), *options]

    def _run(self, tools: Tools, program: str) -> list[str]:
        """The program with the loader and the libraries that were unpacked with it."""
        prefix = self._prefix(tools)
        loader = tools.need("ld-linux-*.so.*", str(prefix / "lib" / "*-linux-gnu"))
        return [loader, "--library-path", str(Path(loader).parent), str(prefix / program)]

    def _prefix(self, tools: Tools) -> Path:
        return self._SID.folder(tools) / "root" / "usr"


class MariaDbReplica(_Replicated, MariaDb):
    """The same with a replica; the URL names the primary first."""

    title = "mariadb-replica"
    follow = (
        "change master to master_host = '127.0.0.1', master_port = {port}, master_user = 'root',"
        " master_connect_retry = 1, master_use_gtid = slave_pos",
        "start slave",
    )
    status = "show slave status"


class MySqlReplica(_Replicated, MySql):
    """The same with a replica; the URL names the primary first."""

    title = "mysql-replica"
    follow = (
        "change replication source to source_host = '127.0.0.1', source_port = {port},"
        " source_user = 'root', source_connect_retry = 1, get_source_public_key = 1,"
        " source_auto_position = 1",
        "start replica",
    )
    status = "show replica status"

    def _log(self, node: Node) -> Sequence[str]:
        return (*super()._log(node), "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
