"""What could not be handled, and what begins by the clock: looked at and steered."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from workflow_core import Engine, LetterState, Retry, RunView, Workflow
from workflow_ctl.app import cli
from workflow_ctl.base import Command
from workflow_ctl.exits import Exit

if TYPE_CHECKING:
    from tests.conftest import Shop

SOON = timedelta(milliseconds=10)
ONCE = Retry(first=SOON, pause_after=1)


class Greeting:
    """A workflow whose hook fails while it is told to, and that has a schedule of a far day."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.fails = True
        self.greeted: list[str] = []
        order, status = shop.module.Order, shop.module.Status
        self.flow: Workflow[Any, Any] = Workflow("greeting", order, status, ends=(status.SHIPPED,))
        self.flow.add_step(status.CREATED, lambda run: status.SHIPPED, to=[status.SHIPPED])
        self.flow.on_complete(retry=ONCE)(self.greet)
        self.flow.schedule("yearly", cron="0 0 1 1 *")(lambda tick: None)

    def greet(self, run: RunView[Any, Any]) -> None:
        if self.fails:
            raise ConnectionError("nobody at the door \x1b[2J")
        self.greeted.append(run.foreign_id)

    def serve(self, *names: str, until: str) -> None:
        """Begin runs of these names, and work until the letters stand so, in this order."""
        with Engine.embedded(self._shop.file) as engine, engine.serving(self.flow):
            for name in names:
                run_id = engine.trigger(self.flow, name, self._shop.module.Order())
                engine.wait_until_ended(self.flow, run_id, timedelta(seconds=60))

            def states() -> list[str]:
                page = engine.dead_letters(self.flow, states=list(LetterState))
                return sorted(each.state.value for each in page.items)

            self._shop.until(lambda: states() == until.split(", "), until)


@pytest.fixture
def greeting(shop: Shop) -> Greeting:
    return Greeting(shop)


def test_letters_are_listed_tried_again_and_given_up(greeting: Greeting, shop: Shop) -> None:
    """Seen to fail with a verb that takes all where one was named."""
    assert "no dead letters" in shop.here("dead-letters", "list", "greeting").out
    greeting.serve("one", "two", until="set aside, set aside")
    told = shop.here("dead-letters", "list", "greeting")
    assert "nobody at the door \\x1b[2J" in told.out
    letters = shop.here("dead-letters", "list", "greeting", "--json").json["letters"]
    ids = {each["foreign_id"]: each["id"] for each in letters}
    assert set(ids) == {"one", "two"}
    assert {each["name"] for each in letters} == {"greet"}
    page = shop.here("dead-letters", "list", "greeting", "--limit", "1", "--json").json
    rest = ("dead-letters", "list", "greeting", "--after", page["next"], "--json")
    assert len(page["letters"]) == len(shop.here(*rest).json["letters"]) == 1

    refused = shop.here("dead-letters", "retry", "greeting", ids["one"], given="n\n", code=Exit.NO)
    assert "retry 1 dead letter of greeting?" in refused.err
    shop.here("dead-letters", "retry", "greeting", ids["one"], "--yes")
    greeting.fails = False
    greeting.serve(until="handled, set aside")
    assert greeting.greeted == ["one"]
    told = shop.here("dead-letters", "discard", "greeting", "--all", "--yes", "--json")
    assert told.json["changed"] == 1
    assert "no dead letters" in shop.here("dead-letters", "list", "greeting").out
    given_up = ("dead-letters", "list", "greeting", "--state", "discarded", "--json")
    assert [each["id"] for each in shop.here(*given_up).json["letters"]] == [ids["two"]]
    shop.here("dead-letters", "retry", "greeting", ids["two"], "--yes", code=Exit.REFUSED)


def test_schedules_are_listed_paused_and_resumed(greeting: Greeting, shop: Shop) -> None:
    """Seen to fail with a pause that is only said."""
    assert "no schedules" in shop.here("schedules", "list").out
    greeting.fails = False
    with Engine.embedded(shop.file) as engine, engine.serving(greeting.flow):
        shop.until(engine.schedules, "it is known")

    def one() -> dict[str, Any]:
        (found,) = shop.here("schedules", "list", "--workflow", "greeting", "--json").json
        return dict(found)

    assert (one()["name"], one()["is_paused"]) == ("yearly", False)
    assert "0 0 1 1 *" in shop.here("schedules", "list").out
    shop.here("schedules", "pause", "greeting", "yearly", "--reason", "inventory")
    assert (one()["is_paused"], one()["reason"]) == (True, "inventory")
    assert "paused" in shop.here("schedules", "list").out
    shop.here("schedules", "resume", "greeting", "yearly", "--who", "Ann", "--why", "counted")
    assert one()["is_paused"] is False


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= leaves(command, (*path, name))
        else:
            found[" ".join((*path, name))] = command
    return found


def test_every_command_has_json_and_says_what_it_is_for() -> None:
    commands = leaves(cli)
    assert {"runs why", "run", "dead-letters retry", "db upgrade"} <= set(commands)
    for name, command in commands.items():
        assert isinstance(command, Command), f"{name} has no --json"
        assert command.help, f"{name} says nothing of itself"


def test_page_of_the_command_names_all_that_it_has() -> None:
    """Seen to fail with `guard` left out, as it was."""
    page = (Path(__file__).parents[3] / "docs" / "command.md").read_text(encoding="utf-8")
    told = set(re.findall(r"workflow ([a-z-]+)", page)) | set(re.findall(r"`([a-z-]+)[` ]", page))
    assert set(cli.commands) <= told
