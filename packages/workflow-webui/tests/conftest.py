"""An engine in memory, driven by hand, and the app over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from starlette.testclient import TestClient
from workflow_core import Callback, Engine, Pause, Record, Retry, Run, Workflow
from workflow_core.testing import Driver
from workflow_webui import AuditEntry, create_app

LOCAL = "http://127.0.0.1"


class Status(IntEnum):
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4
    REFUSED = 5
    ADDRESS_CHECK = 6


@dataclass
class Card:
    holder: str = ""
    card_number: str = ""


@dataclass
class Order:
    total: int
    customer: str = ""
    address: str = "1 Long Lane"
    receipt: str = ""
    card: Card = field(default_factory=Card)
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


@dataclass(frozen=True)
class Shop:
    """The definition, and the callback that customers call."""

    workflow: Workflow[Order, Status]
    paid: Callback[Order, Status, str]


def shop(name: str = "orders", *, search: Any = ("customer", "total")) -> Shop:
    """A new definition: one is frozen for good."""
    orders = Workflow(name, Order, Status, ends=(Status.SHIPPED, Status.REFUSED), search=search)

    @orders.step(Status.CREATED, retry=Retry(first=timedelta(minutes=5), pause_after=3))
    def check(
        run: OrderRun,
    ) -> Literal[Status.AWAITING_PAYMENT, Status.ADDRESS_CHECK, Status.REFUSED] | Pause:
        if run.data.total < 0:
            raise ValueError(f"a total of {run.data.total} for {run.data.customer}")
        if run.data.total == 0:
            return Status.REFUSED
        if not run.data.address:
            return Pause("there is no address to ship to")
        return Status.AWAITING_PAYMENT if run.data.total < 1000 else Status.ADDRESS_CHECK

    @orders.step(Status.ADDRESS_CHECK)
    def look_up(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT]:
        return Status.AWAITING_PAYMENT

    @orders.callback(Status.AWAITING_PAYMENT)
    def paid(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
        if receipt == "forged":
            raise RuntimeError("the receipt of a secret customer")
        run.data.receipt = receipt
        return Status.PAID

    @orders.timeout(Status.AWAITING_PAYMENT, after=timedelta(days=2))
    def give_up(run: OrderRun) -> Literal[Status.REFUSED]:
        return Status.REFUSED

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    return Shop(orders, paid)


@dataclass
class House:
    """A driven engine, its workflow, and the app's client."""

    driver: Driver
    engine: Engine
    shop: Shop
    client: TestClient
    audit: list[AuditEntry]

    at_home: Callable[..., TestClient]

    @property
    def ui(self) -> Any:
        app: Any = self.client.app
        return app.state.workflow_ui

    @property
    def jobs(self) -> Any:
        return self.ui.jobs

    @property
    def orders(self) -> Workflow[Any, Any]:
        return self.shop.workflow

    def order(
        self, foreign_id: str, total: int = 20, card: tuple[str, str] = ("", ""), **more: Any
    ) -> str:
        return self.engine.trigger(self.orders, foreign_id, Order(total, card=Card(*card), **more))

    def order_data(self, total: int, **more: Any) -> Order:
        return Order(total, **more)

    def settle(self) -> None:
        self.driver.run()

    def record(self, run_id: str) -> Record:
        return self.engine.adapters.record_store.lookup(run_id)

    def csrf(self) -> str:
        """A token for this client's browser."""
        page = self.client.get("/runs").text
        return page.split('name="csrf" value="', 1)[1].split('"', 1)[0]

    def post(self, path: str, **fields: Any) -> Any:
        return self.client.post(path, data={"csrf": self.csrf(), **fields}, follow_redirects=False)


def client_of(app: Any, **more: Any) -> TestClient:
    return TestClient(app, **{"base_url": LOCAL, "client": ("127.0.0.1", 4321), **more})


@pytest.fixture
def make_shop() -> Callable[..., Shop]:
    return shop


@pytest.fixture
def open_house() -> Iterator[Callable[..., House]]:
    """Opens the house with what `create_app` takes; once a test."""
    with Driver() as driver:
        goods = shop()
        driver.serve(goods.workflow)

        def opened(**options: Any) -> House:
            audit: list[AuditEntry] = []
            known = options.pop("workflows", [goods.workflow])
            app = create_app(driver.engine, known, on_audit=audit.append, **options)
            return House(driver, driver.engine, goods, client_of(app), audit, client_of)

        yield opened


@pytest.fixture
def house(open_house: Callable[..., House]) -> House:
    return open_house()


@pytest.fixture
def until() -> Callable[..., Any]:
    """Asks again until the answer is good; what a thread of the app's own does takes a moment."""

    def asked(ask: Callable[[], Any], is_good: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + 30
        while not is_good(answer := ask()):
            assert time.monotonic() < deadline, answer
            time.sleep(0.01)
        return answer

    return asked
