"""MySQL and MariaDB: one protocol, two servers."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_adaptertest.servers.kinds.base import Image, Kind
from workflow_adaptertest.servers.kinds.certificates import certify
from workflow_adaptertest.servers.place import Node, Place, Tools, hand_over
from workflow_adaptertest.servers.protocols.mysql import server_version
from workflow_adaptertest.servers.recipes import PrivateDebian, SystemPackages, run
from workflow_adaptertest.servers.url import ServerUrl

__all__ = ["MariaDb", "MySql"]

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
_OPENSSL = SystemPackages(("openssl",), ("openssl",))


class _Family(Kind):
    port_names = ("primary",)
    default_port = 3306

    def nodes(self, place: Place) -> list[Node]:
        port = place.ports["primary"]
        node = Node(
            name="primary",
            folder=hand_over(place.folder / "primary", None),
            port=port,
            disk_megabytes=self.disk_megabytes,
        )
        server = [*self._server(place.tools), f"--datadir={node.data}", f"--port={port}"]
        tls = [f"--ssl-{what}={node.folder / file}" for what, file in _TLS.items()]
        return [node.running(*server, _temporary(node), *tls, *_SETTINGS)]

    def prepare(self, node: Node, place: Place) -> None:
        certify(node.folder, place.tools)
        node.folder.joinpath("tmp").mkdir(exist_ok=True)
        if not node.data.exists():
            new = place.remade(node.data)
            initialise = [*self._initialise(node, place.tools), _temporary(node)]
            run([*initialise, f"--datadir={new}"], folder=node.folder)
            new.rename(node.data)
        # left by a kill; the process that it names may be somebody else's, or not yet reaped
        node.data.joinpath("server.sock.lock").unlink(missing_ok=True)

    def url(self, place: Place) -> ServerUrl:
        address = ("127.0.0.1", place.ports["primary"])
        return ServerUrl(scheme=self.title, addresses=[address], user="root", path="mysql")

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

    @abstractmethod
    def _server(self, tools: Tools) -> list[str]: ...

    @abstractmethod
    def _client(self, tools: Tools) -> list[str]: ...

    @abstractmethod
    def _initialise(self, node: Node, tools: Tools) -> list[str]: ...


def _temporary(node: Node) -> str:
    """A folder of its own: a MariaDB that starts removes the temporary tables that it finds."""
    return f"--tmpdir={node.folder / 'tmp'}"


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


class MariaDb(_Family):
    """One MariaDB; ``root`` needs no password."""

    title = "mariadb"
    needs = (
        SystemPackages(
            ("mariadb-server-core", "mariadb-client-core"),
            ("mariadbd", "mariadb-install-db", "mariadb"),
        ),
        _OPENSSL,
    )
    image = Image("mariadb:11", 3306, {"MARIADB_ALLOW_EMPTY_ROOT_PASSWORD": "1"})

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
    needs = (
        _SID := PrivateDebian(
            "mysql-9", suite="sid", packages=("mysql-server-core", "mysql-client-core")
        ),
        _OPENSSL,
    )
    image = Image("mysql:9", 3306, {"MYSQL_ALLOW_EMPTY_PASSWORD": "1"})

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
            "--skip-log-bin",
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
        return [*self._server(tools), "--initialize-insecure", f"--init-file={first}"]

    def _run(self, tools: Tools, program: str) -> list[str]:
        """The program with the loader and the libraries that were unpacked with it."""
        prefix = self._prefix(tools)
        loader = tools.need("ld-linux-*.so.*", str(prefix / "lib" / "*-linux-gnu"))
        return [loader, "--library-path", str(Path(loader).parent), str(prefix / program)]

    def _prefix(self, tools: Tools) -> Path:
        return self._SID.folder(tools) / "root" / "usr"
