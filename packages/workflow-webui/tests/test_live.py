"""Streams that say that something changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core.errors import InputError
from workflow_webui import UiSettings, User
from workflow_webui.live import Watchers, _events, token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import House


def test_token_changes_with_what_is_watched_and_not_else(house: House) -> None:
    """Seen to fail when `token_of` is made of the total alone."""
    run_id = house.order("a")
    listed, version = token_of(house.ui, "list"), token_of(house.ui, f"run:{run_id}")
    assert token_of(house.ui, "list") == listed
    house.settle()
    house.ui.remembered.forget()
    assert token_of(house.ui, "list") != listed
    assert token_of(house.ui, f"run:{run_id}") != version
    for nothing in ("", "run:", "all"):
        with pytest.raises(InputError):
            token_of(house.ui, nothing)


def test_stream_tells_of_a_change_and_ends_with_the_run(
    open_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when `_events` compares with the first token for ever."""
    house = open_house()
    run_id = house.order("a")
    told: list[str] = []
    watchers = Watchers()
    purged = False

    async def asleep(seconds: float) -> None:
        nonlocal purged
        house.ui.remembered.forget()
        if len(told) == 1:
            house.engine.pause(run_id, reason="r")
        elif len(told) == 4:
            purged = True
            monkeypatch.setattr("workflow_webui.live._version", _gone)

    monkeypatch.setattr("workflow_webui.live.sleep", asleep)

    async def listen() -> None:
        what = f"run:{run_id}"
        async for event in _events(house.ui, watchers, what, token_of(house.ui, what)):
            told.append(event)
            assert watchers.now == 1

    asyncio.run(listen())
    assert [event.split("data")[0] for event in told] == [
        "retry: 3000\nevent: standing\n",
        "event: changed\n",
        ": nothing new\n\n",
        ": nothing new\n\n",
        "event: gone\n",
    ]
    assert purged
    assert watchers.now == 0


def test_too_many_watchers_and_strangers_are_turned_away(
    open_house: Callable[..., House],
) -> None:
    house = open_house(settings=UiSettings(max_watchers=0))
    assert house.client.get("/live?watch=list").status_code == 503
    stranger = house.at_home(house.client.app, client=("192.0.2.1", 1))
    assert stranger.get("/live?watch=list").status_code == 403
    nosy = open_house(auth=lambda connection: User("eve", frozenset()))
    assert nosy.client.get("/live?watch=list").status_code == 403


def test_what_cannot_be_watched_is_400_or_404(house: House) -> None:
    assert house.client.get("/live?watch=everything").status_code == 400
    nobody = "run:018f0000-0000-7000-8000-00000000dead"
    assert house.client.get(f"/live?watch={nobody}").status_code == 404
    assert house.client.get("/live?watch=run:%00").status_code == 400, "NUL is no id"


def _gone(ui: Any, run_id: str) -> str:
    from workflow_core.errors import RunNotFoundError

    raise RunNotFoundError("gone", run_id=run_id)
