"""The web UI as people have it: a real server over a real store, seen by a real Chromium.

The pictures that the tests take are kept in `.artefacts/webui`, one folder a store.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from workflow_adaptertest.servers import Server
from workflow_core import Callback, Engine, Pause, Record, Retry, Run, Trigger, Workflow
from workflow_sql import upgrade
from workflow_webui import AuditEntry, UiSettings, create_app

from lib.members import ROOT
from lib.programs import CHROMIUM

PICTURES = ROOT / ".artefacts" / "webui"
DESK = {"width": 1360, "height": 860}


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
    address: str = "1 Long Lane, Leith"
    receipt: str = ""
    card: Card = field(default_factory=Card)
    notes: list[str] = field(default_factory=list)


OrderRun = Run[Order, Status]


@dataclass
class Site:
    """The served app and what is behind it.

    Attributes:
        store: the kind of store.
        url: where the app is.
        engine: serves the workflow.
        orders: the workflow.
        paid: its callback.
        audit: what the app noted.
    """

    store: str
    url: str
    engine: Engine
    orders: Workflow[Order, Status]
    paid: Callback[Order, Status, str]
    audit: list[AuditEntry]

    def order(self, foreign_id: str, total: int = 20, **more: Any) -> str:
        return self.engine.trigger(self.orders, foreign_id, Order(total, **more))

    def arrived(self, foreign_id: str, **more: Any) -> str:
        """A run that waits for its payment."""
        run_id = self.order(foreign_id, **more)
        within = timedelta(seconds=60)
        self.engine.wait_for(self.orders, run_id, Status.AWAITING_PAYMENT, within)
        return run_id

    def record(self, run_id: str) -> Record:
        return self.engine.adapters.record_store.lookup(run_id)

    def until(self, run_id: str, is_so: Callable[[Record], bool]) -> Record:
        """The record, as soon as it is so; within a minute."""
        deadline = time.monotonic() + 60
        while not is_so(record := self.record(run_id)):
            assert time.monotonic() < deadline, record
            time.sleep(0.02)
        return record


def definition() -> tuple[Workflow[Order, Status], Callback[Order, Status, str]]:
    ends = (Status.SHIPPED, Status.REFUSED)
    orders = Workflow("order processing", Order, Status, ends=ends, search=("customer",))

    @orders.step(Status.CREATED, retry=Retry(first=timedelta(minutes=4), pause_after=9))
    def check(
        run: OrderRun,
    ) -> Literal[Status.AWAITING_PAYMENT, Status.ADDRESS_CHECK, Status.REFUSED] | Pause:
        if run.data.total < 0:
            raise ConnectionError(f"the price service does not know {run.foreign_id}")
        if run.data.total == 0:
            return Status.REFUSED
        if not run.data.address:
            return Pause("there is no address to ship to")
        return Status.AWAITING_PAYMENT if run.data.total < 1000 else Status.ADDRESS_CHECK

    @orders.step(Status.ADDRESS_CHECK)
    def look_up(run: OrderRun) -> Literal[Status.AWAITING_PAYMENT, Status.REFUSED]:
        return Status.AWAITING_PAYMENT

    @orders.callback(Status.AWAITING_PAYMENT)
    def paid(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
        run.data.receipt = receipt
        return Status.PAID

    @orders.timeout(Status.AWAITING_PAYMENT, after=timedelta(days=2))
    def give_up(run: OrderRun) -> Literal[Status.REFUSED]:
        return Status.REFUSED

    @orders.step(Status.PAID)
    def ship(run: OrderRun) -> Literal[Status.SHIPPED]:
        return Status.SHIPPED

    @orders.schedule("nightly", cron="0 3 * * *", tz="Europe/Berlin")
    def nightly(tick: Any) -> Trigger[Order] | None:
        return None

    @orders.on_complete(retry=Retry(first=timedelta(milliseconds=10), pause_after=2))
    def tell(run: Any) -> None:
        if run.data.customer == "unreachable":
            raise ValueError("the mail server refused the recipient")

    return orders, paid


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module alone: while it is open, its thread has a loop of asyncio's."""
    expect.set_options(timeout=20_000)
    program = CHROMIUM.path()
    if program is None:
        pytest.skip("no Chromium here; scripts/programs installs it")
    with sync_playwright() as playwright:
        # as root, where tests mostly run, Chromium has no sandbox
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        yield playwright.chromium.launch(executable_path=program, args=options)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            engine = Engine.embedded(tmp_path_factory.mktemp("site") / "orders.db")
        else:
            server: Server = request.getfixturevalue("postgres_server")
            space = stack.enter_context(server.own_space())
            upgrade(str(space.url))
            engine = Engine.from_config(environ=_postgres(str(space.url)))
        orders, paid = definition()
        stack.enter_context(engine)
        stack.enter_context(engine.serving(orders))
        audit: list[AuditEntry] = []
        settings = UiSettings(title="Shop", refresh=timedelta(milliseconds=200))
        app = create_app(engine, [orders], settings=settings, on_audit=audit.append)
        url = stack.enter_context(_Served(app))
        yield Site(request.param, url, engine, orders, paid, audit)


def _postgres(url: str) -> dict[str, str]:
    ports = ("RECORD_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER", "TIMEOUT_STORE")
    return {"WORKFLOW_SQL__URL": url, **{f"WORKFLOW_{port}": "sql" for port in ports}}


class _Served:
    """The app on a free port, in a thread."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *failure: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)


@dataclass
class Visitor:
    """Somebody at the browser, who notices whatever goes wrong in it."""

    page: Page
    site: Site
    problems: list[str] = field(default_factory=list)

    def visit(self, path: str) -> Page:
        self.page.goto(self.site.url + path)
        return self.page

    def picture(self, name: str) -> None:
        folder = PICTURES / self.site.store
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", animations="disabled")

    def check_accessible(self) -> None:
        """By axe: names, labels, roles, contrast and the rest of WCAG 2.1 AA that can be tested."""
        options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
        found = Axe().run(self.page, options=options)
        assert found.violations_count == 0, found.generate_report()

    def check_fits(self) -> None:
        over = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{self.page.url} is {over} px too wide"

    def fill_in(self, button: str, reason: str, **fields: str) -> None:
        """Open an action, fill its form in, send it."""
        page = self.page
        page.locator("summary", has_text=button).first.click()
        panel = page.locator("details.action[open]")
        for label, value in fields.items():
            control = panel.get_by_label(label.replace("_", " "))
            if control.evaluate("e => e.tagName") == "SELECT":
                control.select_option(value)
            else:
                control.fill(value)
        panel.get_by_label("Reason").fill(reason)
        panel.locator("button").click()


@pytest.fixture
def open_visitor(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    """A browser of one's own, as `Browser.new_context` takes it; what it complains of fails."""
    visitors: list[Visitor] = []
    contexts: list[BrowserContext] = []

    def opened(**options: Any) -> Visitor:
        context = browser.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        visitor = Visitor(context.new_page(), site)
        visitor.page.set_default_timeout(20_000)
        visitor.page.on("pageerror", lambda error: visitor.problems.append(str(error)))
        visitor.page.on(
            "console",
            lambda said: (
                visitor.problems.append(said.text) if said.type in ("error", "warning") else None
            ),
        )
        visitors.append(visitor)
        return visitor

    yield opened
    for context in contexts:
        context.close()
    assert [visitor.problems for visitor in visitors] == [[] for _ in visitors]


@pytest.fixture
def visitor(open_visitor: Callable[..., Visitor]) -> Visitor:
    return open_visitor()


@pytest.fixture(scope="session", autouse=True)
def _no_old_pictures() -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)


@pytest.fixture
def pictures() -> Path:
    return PICTURES
