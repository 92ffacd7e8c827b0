"""Moving to other stores by the command: from one SQLite file to another, and what is refused."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_core import Engine
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    from tests.conftest import Answer, Shop

CONFIG = """
[workflow]
record_store = "sql"
event_streamer = "sql"
role_scheduler = "sql"
timeout_store = "sql"

[workflow.adapters.sql]
url = "sqlite:///new.db"
"""


@pytest.fixture
def target(shop: Shop) -> Path:
    Path("new.toml").write_text(CONFIG)
    shop.run("db", "upgrade", "-c", "new.toml")
    return Path("new.toml")


def move(shop: Shop, *words: str, code: int = 0, given: str | None = None) -> Answer:
    return shop.here("move", "--to", "new.toml", *words, code=code, given=given)


def states(shop: Shop, *where: str) -> dict[str, str]:
    runs = shop.run("runs", "list", "--json", *where).json["runs"]
    return {run["run_id"]: run["state"] for run in runs}


def test_runs_are_copied_then_switched(shop: Shop, target: Path) -> None:
    """Seen to fail when --switch only copied."""
    run_ids = [shop.trigger(f"order-{number}") for number in range(3)]
    planned = move(shop, "--dry-run", "--json").json
    assert (planned["runs"], planned["events"], planned["stays_behind"]) == (3, 0, [])
    assert states(shop, "-c", "new.toml") == {}
    assert "copied: 3 runs looked at, 3 written" in move(shop).out
    run_ids.append(shop.trigger("meanwhile"))
    assert move(shop, "--json").json["stages"]["runs"] == {"seen": 4, "written": 1}
    switched = move(shop, "--switch", "--yes", "--json").json
    assert switched["runs"] == 4
    assert len(switched["checksum"]) == 64
    assert states(shop, "-c", "new.toml") == dict.fromkeys(run_ids, "initiated")
    again = move(shop, code=Exit.REFUSED)
    assert "this move was completed. Serve the new stores" in again.err


def test_switch_is_asked_for_and_ended(shop: Shop, target: Path) -> None:
    """Seen to fail when nobody was asked."""
    shop.trigger("order-1")
    no = move(shop, "--switch", code=Exit.NO, given="n\n")
    assert "Does nobody serve" in no.err
    yes = move(shop, "--switch", given="y\n").out
    assert "the same on both sides: 1 run, 1 version, 0 timers, 0 events" in yes
    assert "Start the processes with new.toml" in yes


def test_switch_is_refused_while_somebody_serves(shop: Shop, target: Path) -> None:
    """Seen to fail when the role scheduler was not asked."""
    shop.trigger("order-1")

    def try_it(engine: Engine) -> None:
        roles = engine.adapters.role_scheduler
        assert roles is not None
        shop.until(lambda: roles.holders(["orders-reconciler"]), "the roles are held")
        told = move(shop, "--switch", "--yes", code=Exit.REFUSED).err
        assert "orders-reconciler is held by" in told

    shop.serve(try_it)
    assert states(shop, "-c", "new.toml") == {}


def test_settings_of_the_environment_are_the_sources_alone(
    shop: Shop, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when they changed the target too: both sides were one database."""
    monkeypatch.setenv("WORKFLOW_SQL__URL", f"sqlite:///{shop.file}")
    for port in ("RECORD_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER", "TIMEOUT_STORE"):
        monkeypatch.setenv(f"WORKFLOW_{port}", "sql")
    shop.trigger("order-1")
    answer = shop.run("move", "--to", "new.toml")
    assert "1 written" in answer.out


def test_a_killed_copy_is_gone_on_with(shop: Shop, target: Path) -> None:
    """By kill -9, in the midst: what was there by then is not written again."""
    orders = shop.module.orders
    with Engine.embedded(shop.file) as engine:
        for number in range(300):
            engine.trigger(orders, f"order-{number}", shop.module.Order())
    words = ["move", "--to", "new.toml", "--batch", "1", "--embedded", shop.file]
    copying = shop.start(*words)

    def copied() -> int:
        with closing(sqlite3.connect("new.db")) as new:
            return int(new.execute("select count(*) from workflow_records").fetchone()[0])

    shop.until(lambda: copied() > 20, "something is copied")
    copying.send_signal(signal.SIGKILL)
    copying.wait()
    before = copied() - 1  # the mark
    assert before < 300
    stages = move(shop, "--json").json["stages"]
    assert stages["runs"] == {"seen": 300, "written": 300 - before}
    assert move(shop, "--switch", "--yes", "--json").json["runs"] == 300


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--to", "nowhere.toml"], Exit.USAGE, "nowhere.toml"),
        (["--to", "new.toml", "--dry-run", "--switch"], Exit.USAGE, "say one of them"),
        (["--to", "new.toml", "--timers"], Exit.USAGE, "--timers goes with --switch"),
        (["--to", "new.toml", "--batch", "0"], Exit.USAGE, "--batch"),
        (["--to", "new.toml", "--to-set", "adapters.sql.url"], Exit.USAGE, "has no '='"),
        (
            ["--to", "new.toml", "--to-set", "adapters.sql.url=sqlite:///shop.db"],
            Exit.REFUSED,
            "the same store",
        ),
        (
            ["--to", "new.toml", "--to-set", "record_store=memory"],
            Exit.USAGE,
            "what is in memory is one process's alone",
        ),
        (
            ["--to", "new.toml", "--to-set", "adapters.sql.url=sqlite:///no/where.db"],
            Exit.UNAVAILABLE,
            "new.toml: reading the schema's version failed",
        ),
        (
            ["--to", "new.toml", "--switch", "--timers", "--yes"],
            Exit.REFUSED,
            "not the same record store",
        ),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    shop: Shop, target: Path, words: list[str], code: Exit, told: str
) -> None:
    shop.trigger("order-1")
    answer = shop.here("move", *words, code=code)
    assert told in answer.err
    assert "Traceback" not in answer.err
