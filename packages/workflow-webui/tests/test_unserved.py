"""Statuses that no process works on: told in the overview, on the run's page, and by the lag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient
from workflow_core import Workflow
from workflow_core.testing import Driver
from workflow_webui import create_app

if TYPE_CHECKING:
    from tests.conftest import House

MINUTE = timedelta(minutes=1)


@dataclass
class Pooled:
    """A driven engine that nobody has told to serve, and the app over it."""

    driver: Driver
    orders: Workflow[Any, Any]
    client: TestClient

    def serve(self, *statuses: int, pool: str = "main") -> Any:
        chosen = [self.orders.statuses(number) for number in statuses]
        return self.driver.engine.serving(self.orders, pool=pool, statuses=chosen).start()

    def page(self, path: str = "/") -> str:
        app: Any = self.client.app
        app.state.workflow_ui.remembered.forget()
        return " ".join(self.client.get(path).text.split())


@pytest.fixture
def pooled(house: House, make_shop: Callable[..., Any]) -> Iterator[Pooled]:
    house.driver.close()
    orders = make_shop("pooled").workflow
    with Driver() as driver:
        yield Pooled(driver, orders, house.at_home(create_app(driver.engine, [orders])))


def test_status_of_no_pool_is_told_with_what_to_do(pooled: Pooled, house: House) -> None:
    """Seen to fail when the overview asks for roles alone: main's are all held."""
    pooled.serve(1, 3)
    run_id = pooled.driver.engine.trigger(pooled.orders, "dear", house.order_data(5000))
    pooled.driver.engine.trigger(pooled.orders, "cheap", house.order_data(5))
    pooled.driver.advance(MINUTE)
    told = (
        '<strong>No process works on <a href="/runs?workflow=pooled&amp;status=6">ADDRESS_CHECK'
        "</a>.</strong> 1 run is there: serve a pool that has this status, or give it to one"
    )
    overview = pooled.page()
    assert told in overview
    assert overview.count("No process works on") == 1, "a callback's status needs no process"
    run = pooled.page(f"/runs/{run_id}")
    assert "No process works on ADDRESS_CHECK: the pools of &#39;pooled&#39; that are" in run
    assert "Serve a pool that has ADDRESS_CHECK" in run


def test_workflow_that_nobody_serves_is_told(pooled: Pooled, house: House) -> None:
    """Seen to fail when only workers that are there are looked at."""
    pooled.driver.engine.trigger(pooled.orders, "a", house.order_data(5))
    assert "<strong>No process serves it.</strong> 1 run waits: start a process" in pooled.page()
    pooled.serve(1, 3, 6)
    pooled.driver.run()
    assert "No process serves it" not in pooled.page()


def test_pool_that_was_lost_is_named(
    pooled: Pooled, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when lost workers count as there."""
    pooled.serve(6, pool="slow")
    pooled.driver.engine.trigger(pooled.orders, "a", house.order_data(5000))
    pooled.driver.advance(MINUTE)
    (worker,) = pooled.driver.engine.workers()
    lost = worker.replace(state=type(worker.state).LOST)
    monkeypatch.setattr(pooled.driver.engine, "workers", lambda: [lost])
    page = pooled.page()
    assert "1 run waits: start the processes of the pool <bdi>slow</bdi> again" in page
    main = worker.replace(pool="main", statuses={"pooled": [1, 3]})
    monkeypatch.setattr(pooled.driver.engine, "workers", lambda: [lost, main])
    assert "No process works on" not in pooled.page(), "nobody is at ADDRESS_CHECK"
    moved = worker.replace(pool="main", statuses={"pooled": [3, 6]})
    fast = worker.replace(pool="fast", state=type(worker.state).LOST, statuses={"pooled": [1]})
    monkeypatch.setattr(pooled.driver.engine, "workers", lambda: [moved, fast])
    assert "start a process of the pool <bdi>fast</bdi> again" in pooled.page()


def test_nothing_is_claimed_where_a_worker_does_not_say(
    pooled: Pooled, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of older code. Seen to fail when not knowing counts as no."""
    pooled.serve(3)
    pooled.driver.engine.trigger(pooled.orders, "a", house.order_data(5))
    pooled.driver.run()
    (worker,) = pooled.driver.engine.workers()
    assert "No process works on" in pooled.page()
    silent = worker.replace(statuses=None)
    monkeypatch.setattr(pooled.driver.engine, "workers", lambda: [silent])
    assert "No process works on" not in pooled.page()


def test_lag_is_asked_for_of_the_pool_that_has_the_status(pooled: Pooled, house: House) -> None:
    """Seen to fail when it is always asked for of the main pool: of a topic it never reads."""
    pooled.serve(1, 6, pool="slow")
    pooled.driver.engine.trigger(pooled.orders, "a", house.order_data(5))
    pooled.driver.run()
    page = pooled.page("/flow?workflow=pooled")
    assert "steps of pool slow" in page
    assert "pooled-slow-steps" in page
