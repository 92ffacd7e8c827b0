"""What a configuration chooses, and from where each value comes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from workflow_core.discovery import Catalogue, Config
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

Pretend = Callable[..., None]
Factory = Callable[[str, type[Any]], Any]
Write = Callable[[str], str]


@dataclass(frozen=True)
class Pool:
    size: int = 5
    patience: timedelta = timedelta(seconds=10)


@dataclass(frozen=True)
class Sql:
    url: Secret
    schema: str | None = None
    pool: Pool = Pool(patience=timedelta(minutes=1))
    replica: Pool | None = None


@dataclass(frozen=True)
class Kafka:
    bootstrap_servers: tuple[str, ...]
    linger: timedelta = timedelta(milliseconds=5)


@dataclass(frozen=True)
class KafkaSource:
    bootstrap_servers: tuple[str, ...]
    topic: str


@dataclass(frozen=True)
class EngineTable:
    shards: int = 16
    stop_grace: timedelta = timedelta(seconds=25)


@dataclass(frozen=True)
class NoSettings:
    pass


@pytest.fixture(autouse=True)
def installed(pretend: Pretend, factory: Factory) -> None:
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    pretend("workflow-sql", {port: {"sql": factory(port, Sql)} for port in ports})
    streams = {
        "event_streamer": {"kafka": factory("event_streamer", Kafka)},
        "connector_source": {"kafka": factory("connector_source", KafkaSource)},
    }
    pretend("workflow-kafka", streams)
    pretend("workflow-otel", {"observer": {"otel": factory("observer", NoSettings)}})
    pretend("workflow-structlog", {"logging": {"structlog": factory("logging", NoSettings)}})


SMALL = """
[workflow]
record_store = "sql"
[workflow.adapters.sql]
url = "x"
"""

FULL = """
[workflow]
record_store = "sql"
timeout_store = "timers"
event_streamer = "kafka"
role_scheduler = "sql"
logging = "structlog"
observers = ["otel"]
namespace = "shop"

[workflow.adapters.sql]
url = "${DATABASE_URL}"
pool.size = 9

[workflow.adapters.timers]
adapter = "sql"
url = "sqlite:///timers.db"

[workflow.adapters.kafka]
bootstrap_servers = ["a:9092", "b:9092"]

[workflow.connectors.payments]
adapter = "kafka"
topic = "payments"

[workflow.connectors.refunds]
adapter = "kafka"
topic = "refunds"
bootstrap_servers = ["elsewhere:9092"]
"""


def load(catalogue: Catalogue, path: str | None = None, **given: Any) -> Config:
    return Config.load(path, catalogue=catalogue, **{"environ": {}, **given})


def test_every_adapter_gets_its_own_settings(
    write: Write, catalogue: Catalogue, made: list[Any]
) -> None:
    environ = {"DATABASE_URL": "sqlite:///orders.db"}
    with load(catalogue, write(FULL), environ=environ).build(instance="one") as adapters:
        assert dict(adapters.names) == {
            "record_store": "sql",
            "timeout_store": "timers",
            "event_streamer": "kafka",
            "role_scheduler": "sql",
            "logging": "structlog",
            "connectors.payments": "kafka",
            "connectors.refunds": "kafka",
        }
        settings = {type(it).__name__ + str(n): it.settings for n, it in enumerate(made)}
        sql = Sql(Secret("sqlite:///orders.db"), pool=Pool(9, timedelta(minutes=1)))
        assert list(settings.values()) == [
            NoSettings(),
            NoSettings(),
            sql,
            Sql(Secret("sqlite:///timers.db")),
            Kafka(("a:9092", "b:9092")),
            sql,
            KafkaSource(("a:9092", "b:9092"), "payments"),
            KafkaSource(("elsewhere:9092",), "refunds"),
        ]
        assert list(adapters.connectors) == ["payments", "refunds"]
        assert {it.context for it in made} == {adapters.context}
        assert (adapters.context.namespace, adapters.context.instance) == ("shop", "one")


def test_caller_counts_before_the_environment_and_the_environment_before_the_file(
    write: Write, catalogue: Catalogue
) -> None:
    file = write(SMALL + 'schema = "file"\npool.size = 1\npool.patience = "1s"')
    environ = {"WORKFLOW_SQL__SCHEMA": "environment", "WORKFLOW_SQL__POOL__SIZE": "2"}
    config = load(catalogue, file, environ=environ, overrides={"adapters.sql.pool.size": 3})
    shown = {it.key: (it.value, it.source) for it in config.values()}
    assert shown == {
        "record_store": ("sql", "workflow.toml [workflow] record_store"),
        "event_streamer": ("not set", "default"),
        "role_scheduler": ("not set", "default"),
        "timeout_store": ("not set", "default"),
        "logging": ("not set", "default"),
        "observers": ("", "default"),
        "namespace": ("", "default"),
        "adapters.sql.url": ("…", "workflow.toml [workflow.adapters.sql] url"),
        "adapters.sql.schema": ("environment", "WORKFLOW_SQL__SCHEMA"),
        "adapters.sql.pool.size": ("3", "adapters.sql.pool.size, given by the caller"),
        "adapters.sql.pool.patience": ("1s", "workflow.toml [workflow.adapters.sql.pool] patience"),
    }


def test_environment_alone_is_enough_with_aliases_and_connectors(
    catalogue: Catalogue, made: list[Any]
) -> None:
    environ = {
        "WORKFLOW_RECORD_STORE": "sql",
        "WORKFLOW_SQL__URL": "one",
        "WORKFLOW_TIMEOUT_STORE": "my-timers",
        "WORKFLOW_MY_TIMERS__ADAPTER": "sql",
        "WORKFLOW_MY_TIMERS__URL": "two",
        "WORKFLOW_OBSERVERS": "otel",
        "WORKFLOW_NAMESPACE": "shop",
        "WORKFLOW_KAFKA__BOOTSTRAP_SERVERS": "a:9092, b:9092",
        "WORKFLOW_CONNECTORS__PAYMENTS__ADAPTER": "kafka",
        "WORKFLOW_CONNECTORS__PAYMENTS__TOPIC": "payments",
        "PATH": "/usr/bin",
    }
    with load(catalogue, environ=environ).build() as adapters:
        assert [it.settings for it in made] == [
            NoSettings(),
            Sql(Secret("one")),
            Sql(Secret("two")),
            KafkaSource(("a:9092", "b:9092"), "payments"),
        ]
        assert adapters.event_streamer is None
        assert adapters.role_scheduler is None


def test_variable_reaches_the_connector_that_the_file_declares(
    write: Write, catalogue: Catalogue, made: list[Any]
) -> None:
    environ = {"DATABASE_URL": "x", "WORKFLOW_CONNECTORS__PAYMENTS__TOPIC": "other"}
    environ["WORKFLOW_CONNECTORS__PAYMENTS__ADAPTER"] = "kafka"
    with load(catalogue, write(FULL), environ=environ).build() as adapters:
        assert list(adapters.connectors) == ["payments", "refunds"]
        assert made[-2].settings.topic == "other"


def test_connector_can_be_declared_in_code(catalogue: Catalogue, made: list[Any]) -> None:
    overrides = {
        "record_store": "sql",
        "adapters.sql.url": Secret("x"),
        "connectors.payments.adapter": "kafka",
        "connectors.payments.topic": "payments",
        "connectors.payments.bootstrap_servers": ["a:9092"],
    }
    with load(catalogue, overrides=overrides).build() as adapters:
        assert adapters.names["connectors.payments"] == "kafka"
        assert made[-1].settings == KafkaSource(("a:9092",), "payments")


def test_environment_names_the_file_unless_a_path_is_given(
    write: Write, catalogue: Catalogue
) -> None:
    file = write(SMALL)
    load(catalogue, environ={"WORKFLOW_CONFIG": file})
    load(catalogue, file, environ={"WORKFLOW_CONFIG": "no-such-file.toml"})
    with pytest.raises(ConfigurationError, match="named by WORKFLOW_CONFIG"):
        load(catalogue, environ={"WORKFLOW_CONFIG": "no-such-file.toml"})


def test_empty_variable_leaves_a_port_out(write: Write, catalogue: Catalogue) -> None:
    environ = {"DATABASE_URL": "x", "WORKFLOW_EVENT_STREAMER": ""}
    with load(catalogue, write(FULL), environ=environ).build() as adapters:
        assert adapters.event_streamer is None


def test_missing_variable_is_no_problem_when_the_value_does_not_count(
    write: Write, catalogue: Catalogue
) -> None:
    load(catalogue, write(FULL), environ={"WORKFLOW_SQL__URL": "x"})


def test_interpolated_text_is_read_like_the_environment(
    write: Write, catalogue: Catalogue, made: list[Any]
) -> None:
    file = write(SMALL + 'schema = "$${x}"\npool.size = "${SIZE}"')
    config = load(catalogue, file, environ={"SIZE": "7"})
    with config.build():
        assert made[0].settings == Sql(Secret("x"), "${x}", Pool(7, timedelta(minutes=1)))
    (source,) = (it.source for it in config.values() if it.key == "adapters.sql.pool.size")
    assert source == "workflow.toml [workflow.adapters.sql.pool] size, with SIZE"


def test_table_that_nothing_uses_is_left_alone_when_it_could_be_used(
    write: Write, catalogue: Catalogue
) -> None:
    """A file serves several processes, and WORKFLOW_EVENT_STREAMER switches: so no complaint."""
    tables = """
    [workflow.adapters.kafka]
    bootstrap_servers = "${NOT_SET_HERE}"
    [workflow.adapters.redis]
    url = 5
    [workflow.adapters.reserve]
    adapter = "sql"
    """
    file = write(SMALL + tables)
    load(catalogue, file, environ={"WORKFLOW_KAFKA__LINGER": "?", "WORKFLOW_REDIS__URL": "?"})


def test_other_programs_tables_and_variables_are_left_alone(
    write: Write, catalogue: Catalogue
) -> None:
    file = write(SMALL + "[shop]\nrecord_store = 5")
    load(catalogue, file, environ={"WORKFLOW_ID": "17", "WORKFLOWS": "x", "WORKFLOW_NAME": "ci"})


def test_section_is_read_with_its_overrides(write: Write, catalogue: Catalogue) -> None:
    file = write(SMALL + "[workflow.engine]\nshards = 4")
    environ = {"WORKFLOW_ENGINE__STOP_GRACE": "1m"}
    expected = EngineTable(shards=4, stop_grace=timedelta(minutes=1))
    unchecked = load(catalogue, file, environ=environ)
    assert unchecked.section("engine", EngineTable) == expected
    checked = load(catalogue, file, environ=environ, sections={"engine": EngineTable})
    assert checked.section("engine", EngineTable) == expected
    assert "engine.shards" in {it.key for it in checked.values()}


def test_section_is_its_defaults_when_nobody_sets_it(write: Write, catalogue: Catalogue) -> None:
    file = write(SMALL)
    assert load(catalogue, file).section("engine", EngineTable) == EngineTable()


def test_table_within_a_table_is_made_when_any_of_it_is_set(
    catalogue: Catalogue, made: list[Any]
) -> None:
    """And what is not set in it stays as its owner's default has it."""
    environ = {"WORKFLOW_RECORD_STORE": "sql", "WORKFLOW_SQL__URL": "x"}
    for more, replica in (
        ({}, None),
        ({"WORKFLOW_SQL__REPLICA__SIZE": "2"}, Pool(size=2)),
    ):
        with load(catalogue, environ={**environ, **more}).build():
            assert made[-1].settings.replica == replica
            assert made[-1].settings.pool == Pool(5, timedelta(minutes=1))


def test_process_environment_counts_when_none_is_given(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_RECORD_STORE", "sql")
    monkeypatch.setenv("WORKFLOW_SQL__URL", "x")
    assert Config.load(catalogue=catalogue).values()[0].source == "WORKFLOW_RECORD_STORE"
