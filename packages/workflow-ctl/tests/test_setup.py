"""Adapters, configuration, health, tables, and where definitions are found."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from workflow_core import Engine, Health, RunState
from workflow_core.model import Record, names
from workflow_core.ports import Write
from workflow_ctl.app import cli
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    from tests.conftest import Shop

CONFIG = """
[workflow]
record_store = "sql"
event_streamer = "sql"
role_scheduler = "sql"
timeout_store = "sql"
namespace = "shop"

[workflow.adapters.sql]
url = "sqlite:///there.db"
"""


def test_adapters_lists_what_is_installed(shop: Shop) -> None:
    found = shop.run("adapters", "--json").json
    memory = next(each for each in found if each["name"] == "memory")
    assert memory["wheel"] == "workflow-core"
    assert memory["problem"] == ""
    assert all(re.fullmatch(r"\d+\.\d+", each["contract"]) for each in found), found
    assert memory["contract"] == ".".join(memory["version"].split(".")[:2])
    assert "workflow-core" in shop.run("adapters").out


def test_adapters_tell_what_they_can_when_they_are_opened(shop: Shop) -> None:
    found = shop.here("adapters", "--open", "--json").json
    sql = next(each for each in found if each["name"] == "sql")
    assert "TRANSACTIONS" in sql["capabilities"]
    assert "TRANSACTIONS" in shop.here("adapters", "--open").out


def test_config_tells_each_value_with_its_source(shop: Shop) -> None:
    Path("workflow.toml").write_text(CONFIG)
    values = shop.run("config", "-c", "workflow.toml", "--set", "engine.shards=8", "--json").json
    by_key = {each["key"]: each for each in values}
    assert by_key["namespace"]["source"].startswith("workflow.toml")
    assert by_key["engine.shards"] == {
        "key": "engine.shards",
        "value": "8",
        "source": "engine.shards, given by the caller",
    }
    assert by_key["adapters.sql.url"]["value"] == "…"
    assert "workflow.toml [workflow] namespace" in shop.run("config", "-c", "workflow.toml").out
    assert not Path("there.db").exists(), "it connects to nothing"


def test_config_tells_all_problems_at_once(shop: Shop) -> None:
    wrong = CONFIG.replace("url =", "urll =").replace('"sql"', '"sqll"', 1)
    Path("workflow.toml").write_text(wrong)
    answer = shop.run("config", "-c", "workflow.toml", code=Exit.USAGE)
    assert "did you mean 'sql'" in answer.err
    assert "did you mean 'url'" in answer.err
    problems = shop.run("config", "-c", "workflow.toml", "--json", code=Exit.USAGE).err
    assert '"problems"' in problems


def test_nothing_configured_lists_the_ways(shop: Shop) -> None:
    assert "WORKFLOW_CONFIG" in shop.run("runs", "list", code=Exit.USAGE).err


def test_check_is_a_probe(shop: Shop) -> None:
    assert shop.here("check").out.endswith("ready\n")
    health = shop.here("check", "--json").json
    assert health["ready"] is True
    assert {each["port"] for each in health["adapters"]} >= {"record_store", "event_streamer"}


def test_workers_are_told_until_they_stop_and_lost_where_they_were_killed(shop: Shop) -> None:
    """Seen to fail when a lost worker is no reason for another exit code."""
    assert shop.here("workers").out == "nobody serves\n"
    assert shop.here("workers", "--json").json == []
    quick = ["--set", "adapters.sql.role_lease=1s", "--set", "engine.beat_every=200ms"]
    words = ["run", "--embedded", shop.file, "--app", "ctl_shop:everything", *quick]
    process = shop.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def plays() -> bool:
        return any(worker["roles"] for worker in shop.here("workers", "--json").json)

    shop.until(plays, "the process plays a role")
    (worker,) = shop.here("workers", "--json").json
    assert (worker["state"], worker["workflows"]) == ("live", ["orders", "refunds"])
    assert worker["instance"] in shop.here("workers").out
    assert shop.here("check", "--json").json["workers"] == {"live": 1}
    process.kill()
    process.wait()

    def is_lost() -> bool:
        found = CliRunner().invoke(cli, ["workers", "--embedded", shop.file])
        return found.exit_code == 1 and "lost" in found.stdout

    shop.until(is_lost, "the killed process is lost")
    assert shop.here("check").out.endswith("workers: 1 lost\nready\n")


def test_worker_of_newer_code_is_told_as_unreadable(shop: Shop) -> None:
    """Seen to fail when one such record makes the engine raise: `check` counts nobody then."""
    written = Record(
        workflow=names.WORKERS,
        foreign_id="host-1/x",
        run_id="0190a8b0-0000-7000-8000-000000000001",
        status=1,
        state=RunState.RUNNING,
        version=1,
        write_id="w",
        data=b'{"of": "newer code"}',
    )
    with Engine.embedded(shop.file) as engine:
        assert list(engine._core.store.store_many([Write(record=written)])) == [None]
    told = shop.here("workers")
    assert "unreadable" in told.out
    (worker,) = shop.here("workers", "--json").json
    assert (worker["instance"], worker["state"]) == ("host-1", "unreadable")
    assert "cannot be read" in worker["trouble"]
    assert shop.here("check").out.endswith("workers: 1 unreadable\nready\n")


def test_check_says_no_where_the_database_cannot_be_opened(shop: Shop) -> None:
    """Seen to fail when the error was passed on as one of ours."""
    Path("folder.db").mkdir()
    words = ["check", "--set", "adapters.sql.url=sqlite:///nowhere/at/all.db", "--embedded", "x.db"]
    answer = shop.run(*words, code=Exit.NO)
    assert "not ready" in answer.out
    assert shop.run(*words, "--ready", "--json", code=Exit.NO).json["live"] is True
    assert "not ready" in shop.run(*words, "--live").out, "a new process would not help"


def test_a_wrong_configuration_is_neither_ready_nor_live(shop: Shop) -> None:
    for question in ("--ready", "--live"):
        shop.run("check", question, "--set", "record_store=sqll", code=Exit.USAGE)


def test_check_tells_a_server_that_is_away_by_the_question_asked(shop: Shop) -> None:
    """Seen to fail when --live was refused too where an adapter could not be opened."""
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{taken.getsockname()[1]}/orders"
        words = ["--set", "record_store=sql", "--set", f"adapters.sql.url={url}"]
        assert shop.here("check", *words, "--json", code=Exit.NO).json["live"] is True
        shop.here("check", *words, "--live")


def test_check_answers_the_question_asked_where_an_adapter_is_unwell(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when --live answered by what is ready."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    unwell = Health(live=True, ready=False, at=at, problems=("the streamer is away",))
    monkeypatch.setattr(Engine, "health", lambda engine, timeout: unwell)
    shop.here("check", "--ready", code=Exit.NO)
    assert "the streamer is away" in shop.here("check", "--live").err


def test_db_makes_and_tells_the_schema(shop: Shop) -> None:
    Path("workflow.toml").write_text(CONFIG)
    old = shop.run("db", "current", "-c", "workflow.toml", code=Exit.NO)
    assert "no tables" in old.out
    assert "create table" in shop.run("db", "sql", "-c", "workflow.toml").out.lower()
    assert "as wanted" in shop.run("db", "upgrade", "-c", "workflow.toml").out
    told = shop.run("db", "current", "-c", "workflow.toml", "--json").json
    assert told["found"] == told["wanted"]


def test_db_needs_a_sql_adapter(shop: Shop) -> None:
    words = ["db", "current", "--set", "record_store=memory"]
    assert "no SQL adapter" in shop.run(*words, code=Exit.USAGE).err


@pytest.mark.parametrize(
    ("app", "names"),
    [
        ("ctl_shop:orders", ["orders"]),
        ("ctl_shop:everything", ["orders", "refunds"]),
        ("ctl_shop:made", ["orders"]),
        ("ctl_shop", ["orders", "refunds"]),
    ],
)
def test_definitions_are_found(shop: Shop, app: str, names: list[str]) -> None:
    assert list(shop.run("graph", app, "--json").json) == names


def test_definitions_are_named_by_the_environment(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_APP", "ctl_shop:orders ctl_shop:refunds")
    assert list(shop.run("graph", "--json").json) == ["orders", "refunds"]


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("nowhere:orders", "there is no module 'nowhere'"),
        ("ctl_shop:order", "'ctl_shop' has no 'order'; it has orders, refunds"),
        ("ctl_shop:Order", "is no workflow"),
        ("ctl_shop:HOUR", "is no workflow"),
        ("json", "has no workflow in it"),
        (":orders", "is not of the form module:name"),
        ("broken", "failed with RuntimeError: no database"),
        ("needs_more", "failed with ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_what_is_no_definition_is_told(shop: Shop, app: str, told: str) -> None:
    Path("broken.py").write_text('raise RuntimeError("no database")\n')
    Path("needs_more.py").write_text("import not_there\n")
    answer = shop.run("graph", app, code=Exit.USAGE)
    assert told in answer.err
    assert "Traceback" not in answer.err


def test_a_module_is_found_in_the_current_directory(shop: Shop) -> None:
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    Path("only_here.py").write_text("from ctl_shop import orders\n")
    assert list(shop.run("graph", "only_here", "--json").json) == ["orders"]
