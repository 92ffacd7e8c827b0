"""Every server and variant, by its real client: the whole way from the fixture to an answer."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from workflow_adaptertest.servers import KINDS, Server, ServerUrl, Space

Ask = Callable[..., str]


@pytest.mark.parametrize("name", list(KINDS))
def test_server_tells_its_version(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(f"{name.replace('-', '_')}_server")
    assert server.version[0].isdigit()
    assert server.name == name


@pytest.mark.parametrize(
    "name", ["postgres", "postgres-replica", "postgres-secure", "mysql", "mariadb"]
)
def test_database_is_the_tests_own(name: str, request: pytest.FixtureRequest, ask: Ask) -> None:
    space: Space = request.getfixturevalue(f"{name.replace('-', '_')}_space")
    server: Server = request.getfixturevalue(f"{name.replace('-', '_')}_server")
    option = "-c" if "postgres" in name else "-e"
    statements = "create table t (n int); insert into t values (7); select n from t"
    assert ask(*server.client(space.url), option, statements) == "7"
    here = "current_database()" if "postgres" in name else "database()"
    assert ask(*server.client(space.url), option, f"select {here}") == space.name


def test_servers_share_no_folder_for_temporary_tables(
    mysql_server: Server, mariadb_server: Server, ask: Ask
) -> None:
    """One that starts removes those that it finds, from under another that makes its first tables.

    Seen to fail with the machine's folder for all.
    """
    folders = {
        ask(*server.client(), "-e", "select @@tmpdir") for server in (mysql_server, mariadb_server)
    }
    assert len(folders - {tempfile.gettempdir()}) == 2


def test_mysql_is_the_real_one(mysql_server: Server, mariadb_server: Server, ask: Ask) -> None:
    ask_version = ["-e", "select @@version, @@version_comment"]
    assert "MariaDB" not in ask(*mysql_server.client(), *ask_version)
    assert "MariaDB" in ask(*mariadb_server.client(), *ask_version)
    assert mysql_server.version.startswith("9.")


def test_replica_streams_what_the_primary_got(
    postgres_replica_server: Server,
    postgres_replica_space: Space,
    ask: Ask,
    catch_up: Callable[[Server], None],
) -> None:
    primary = postgres_replica_server.client(postgres_replica_space.url)
    second = postgres_replica_space.url.at(postgres_replica_space.url.addresses[1:])
    replica = postgres_replica_server.client(second)
    ask(*primary, "-c", "create table t (n int)")
    catch_up(postgres_replica_server)
    assert ask(*replica, "-c", "select pg_is_in_recovery(), count(*) from t") == "t|0"


def test_redis_keeps_what_it_is_given(redis_server: Server, redis_space: Space, ask: Ask) -> None:
    assert ask(*redis_server.client(), "set", f"{redis_space.name}:a", "1") == "OK"
    assert ask(*redis_server.client(), "get", f"{redis_space.name}:a") == "1"


def test_redis_cluster_serves_every_slot(
    redis_cluster_server: Server, redis_cluster_space: Space, ask: Ask
) -> None:
    client = redis_cluster_server.client()
    nodes = set()
    for number in range(12):
        key = f"{redis_cluster_space.name}:{number}"
        assert ask(*client, "set", key, "1").endswith("OK")
        nodes.add(int(ask(*client, "cluster", "keyslot", key)) * 3 // 16_384)
    assert nodes == {0, 1, 2}
    assert "cluster_state:ok" in ask(*client, "cluster", "info")


@pytest.mark.parametrize("name", ["etcd", "etcd-cluster"])
def test_etcd_keeps_what_it_is_given(name: str, request: pytest.FixtureRequest, ask: Ask) -> None:
    server: Server = request.getfixturevalue(f"{name.replace('-', '_')}_server")
    space: Space = request.getfixturevalue(f"{name.replace('-', '_')}_space")
    ask(*server.client(), "put", space.name, "1")
    for address in server.url.addresses:
        last = server.client(server.url.at([address]))
        assert ask(*last, "get", "--print-value-only", space.name) == "1"
    members = json.loads(ask(*server.client(), "member", "list", "-w", "json"))["members"]
    assert len(members) == len(server.url.addresses)


def kafka_options(url: ServerUrl, folder: Path) -> str:
    """A file with what Kafka's own tools need to know beside the address."""
    lines = []
    if url.password:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        lines = [
            "security.protocol=SASL_SSL",
            f"sasl.mechanism={url.query['mechanism']}",
            f'sasl.jaas.config={login} username="{url.user}" password="{url.password}";',
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={url.query['ca']}",
        ]
    path = folder / "client.properties"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["kafka", "kafka-secure"])
def test_kafka_carries_a_message(
    name: str, request: pytest.FixtureRequest, ask: Ask, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue(f"{name.replace('-', '_')}_server")
    space: Space = request.getfixturevalue(f"{name.replace('-', '_')}_space")
    options = kafka_options(server.url, tmp_path)
    where = ["--bootstrap-server", server.url.bootstrap, "--topic", f"{space.name}.orders"]
    tools = "org.apache.kafka.tools"
    produce = [f"{tools}.ConsoleProducer", *where, "--producer.config", options]
    ask(*server.client(), *produce, given="paid\n")
    consume = [f"{tools}.consumer.ConsoleConsumer", *where, "--consumer.config", options]
    read = ask(*server.client(), *consume, "--from-beginning", "--max-messages", "1")
    assert "paid" in read.splitlines()
