"""Verbs in the user's own transaction and steps in one of their own, on every database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy import Engine as Alchemy
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import Session
from workflow_core import Engine, Retry, Run, RunState, Trigger, Workflow
from workflow_core.errors import RunInProgressError, RunNotFoundError, StoreBusyError

DATABASES = ("sqlite", "postgres", "mysql", "mariadb")
LONG = timedelta(seconds=60)
ASYNC = {"sqlite": "aiosqlite", "postgresql": "psycopg", "mysql": "aiomysql"}
SYNC = {"postgresql": "psycopg", "mysql": "pymysql"}


class Status(IntEnum):
    ORDERED = 1
    BOOKED = 2


@dataclass
class Order:
    total: int = 1


OrderRun = Run[Order, Status]
Orders = Workflow[Order, Status]


class Shop:
    """An engine of ours, and the user's own with a table of theirs, on one database."""

    def __init__(self, url: str, namespace: str) -> None:
        self.kind, _, rest = url.replace("mariadb://", "mysql://").partition("://")
        self.rest = rest
        self.url = url
        self.namespace = namespace
        self.entries = f"{namespace or 'x'}_entries"
        driver = f"+{SYNC[self.kind]}" if self.kind in SYNC else ""
        self.alchemy: Alchemy = create_engine(f"{self.kind}{driver}://{rest}")
        with self.alchemy.begin() as connection:
            connection.execute(text(f"drop table if exists {self.entries}"))
            connection.execute(text(f"create table {self.entries} (what varchar(64) unique)"))

    def engine(self, **settings: str) -> Engine:
        ports = ("RECORD_STORE", "TIMEOUT_STORE", "EVENT_STREAMER", "ROLE_SCHEDULER")
        environ = {f"WORKFLOW_{port}": "sql" for port in ports}
        environ |= {"WORKFLOW_SQL__URL": self.url, "WORKFLOW_NAMESPACE": self.namespace}
        environ |= {f"WORKFLOW_SQL__{name.upper()}": value for name, value in settings.items()}
        return Engine.from_config(environ=environ)

    def enter(self, connection: Connection | Session, what: str) -> None:
        connection.execute(text(f"insert into {self.entries} values (:what)"), {"what": what})

    def entered(self) -> list[str]:
        with self.alchemy.connect() as connection:
            query = text(f"select what from {self.entries} order by what")
            return list(connection.execute(query).scalars())

    def async_url(self) -> str:
        return f"{self.kind}+{ASYNC[self.kind]}://{self.rest.partition('?')[0]}"

    def close(self) -> None:
        with self.alchemy.begin() as connection:
            connection.execute(text(f"drop table {self.entries}"))
        self.alchemy.dispose()


@pytest.fixture(params=DATABASES)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, new_home: Callable[[str], Any]
) -> Iterator[Shop]:
    if request.param == "sqlite":
        shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}", "")
    else:
        home = new_home(request.param)
        shop = Shop(home.url, home.namespace)
    yield shop
    shop.close()


def orders_with(body: Callable[[OrderRun], None], **options: Any) -> Orders:
    soon = timedelta(milliseconds=10)
    retry = Retry(first=soon, maximum=soon)
    orders = Workflow("orders", Order, Status, ends=(Status.BOOKED,), retry=retry)

    @orders.step(Status.ORDERED, **options)
    def book(run: OrderRun) -> Literal[Status.BOOKED]:
        body(run)
        return Status.BOOKED

    return orders


@pytest.fixture
def orders() -> Orders:
    return orders_with(lambda run: None)


# -- verbs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Session, Connection])
def test_run_and_rows_are_there_together_or_not_at_all(
    shop: Shop, orders: Orders, kind: type[Session] | type[Connection]
) -> None:
    """Seen to fail with a verb that committed: the row of the second order was there."""
    with shop.engine() as engine, engine.serving(orders):
        opened = Session(shop.alchemy) if kind is Session else shop.alchemy.connect()
        with opened as mine:
            shop.enter(mine, "kept")
            kept = engine.trigger(orders, "kept", Order(), connection=mine)
            assert engine.view(orders, kept, connection=mine).version == 1
            assert engine.live_run(orders, "kept", connection=mine) == kept
            mine.commit()
            shop.enter(mine, "dropped")
            dropped = engine.trigger(orders, "dropped", Order(), connection=mine)
            mine.rollback()
        assert engine.wait_until_ended(orders, kept, LONG).status is Status.BOOKED
        with pytest.raises(RunNotFoundError):
            engine.view(orders, dropped)
    assert shop.entered() == ["kept"]


def test_steering_takes_effect_with_the_users_transaction(shop: Shop, orders: Orders) -> None:
    with shop.engine() as engine:
        run_id = engine.trigger(orders, "order-1", Order())
        with shop.alchemy.connect() as mine:
            engine.pause(run_id, reason="wait", connection=mine)
            mine.rollback()
            assert engine.view(orders, run_id).state is RunState.INITIATED
            engine.pause(run_id, reason="wait", connection=mine)
            engine.resume(run_id, who="ann", connection=mine)
            engine.cancel(run_id, reason="no more", connection=mine)
            assert engine.view(orders, run_id, connection=mine).state is RunState.CANCELLED
            mine.commit()
        assert engine.view(orders, run_id).state is RunState.CANCELLED


def test_run_in_progress_leaves_the_users_transaction_usable(shop: Shop, orders: Orders) -> None:
    """Seen to fail on PostgreSQL with an insert that raised: the transaction was aborted."""
    with shop.engine() as engine:
        live = engine.trigger(orders, "order-1", Order())
        with shop.alchemy.begin() as mine:
            shop.enter(mine, "mine")
            with pytest.raises(RunInProgressError) as refused:
                engine.trigger(orders, "order-1", Order(), connection=mine)
            others = [Trigger("order-1", Order()), Trigger("order-2", Order())]
            _, other = engine.trigger_many(orders, others, connection=mine)
            shop.enter(mine, "still usable")
        assert refused.value.live_run_id == live
        assert engine.live_run(orders, "order-2") == other
    assert shop.entered() == ["mine", "still usable"]


def test_run_that_began_behind_the_snapshot_is_named_or_the_transaction_to_be_retried(
    shop: Shop, orders: Orders
) -> None:
    """The stricter isolation levels: the live run was committed after the snapshot was taken."""
    if shop.kind == "sqlite":
        return  # who reads first cannot write any more, which is a StoreBusyError: tested elsewhere
    with shop.engine() as engine, shop.alchemy.connect() as mine:
        mine = mine.execution_options(isolation_level="REPEATABLE READ")
        assert mine.execute(text(f"select count(*) from {shop.entries}")).scalar_one() == 0
        live = engine.trigger(orders, "order-1", Order())
        with pytest.raises((RunInProgressError, StoreBusyError)) as refused:
            engine.trigger(orders, "order-1", Order(), connection=mine)
        if isinstance(refused.value, RunInProgressError):
            assert refused.value.live_run_id == live
            shop.enter(mine, "usable")
        else:
            assert "retry" in str(refused.value)
        mine.rollback()
        with pytest.raises(RunInProgressError):
            engine.trigger(orders, "order-1", Order(), connection=mine)


def test_users_transaction_that_is_open_for_long_holds_up_nobody(
    shop: Shop, orders: Orders
) -> None:
    """Seen to fail with the event in the stream: all behind its number waited for it."""
    if shop.kind == "sqlite":
        return  # one transaction writes at a time: while the user's is open nobody else's is
    with shop.engine() as engine, engine.serving(orders), shop.alchemy.connect() as mine:
        waiting = engine.trigger(orders, "waiting", Order(), connection=mine)
        for number in range(20):
            run_id = engine.trigger(orders, f"order-{number}", Order())
            assert engine.wait_until_ended(orders, run_id, LONG).status is Status.BOOKED
        mine.commit()
        assert engine.wait_until_ended(orders, waiting, LONG).status is Status.BOOKED


def test_poisoned_transaction_is_told_by_name(shop: Shop, orders: Orders) -> None:
    """An error that the user swallowed: PostgreSQL has undone the transaction, others have not."""
    with shop.engine() as engine, shop.alchemy.connect() as mine:
        shop.enter(mine, "twice")
        with pytest.raises(DBAPIError):
            shop.enter(mine, "twice")
        if shop.kind == "postgresql":
            with pytest.raises(StoreBusyError, match="Roll the transaction back"):
                engine.trigger(orders, "order-1", Order(), connection=mine)
            mine.rollback()
        run_id = engine.trigger(orders, "order-1", Order(), connection=mine)
        mine.commit()
        assert engine.view(orders, run_id).version == 1


# -- asyncio -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AsyncSession, AsyncConnection])
def test_async_verbs_commit_with_the_users_transaction(
    shop: Shop, orders: Orders, kind: type[AsyncSession] | type[AsyncConnection]
) -> None:
    async def serve(engine: Engine) -> str:
        alchemy = create_async_engine(shop.async_url())
        try:
            return await use(engine, alchemy)
        finally:
            await alchemy.dispose()

    async def use(engine: Engine, alchemy: AsyncEngine) -> str:
        aio = engine.aio
        enter = text(f"insert into {shop.entries} values (:what)")
        opened: Any = AsyncSession(alchemy) if kind is AsyncSession else alchemy.connect()
        async with opened as mine:
            await mine.execute(enter, {"what": "dropped"})
            dropped = await aio.trigger(orders, "order-1", Order(), connection=mine)
            await mine.rollback()
            await mine.execute(enter, {"what": "kept"})
            run_id = await aio.trigger(orders, "order-1", Order(), connection=mine)
            await aio.pause(run_id, reason="wait", connection=mine)
            with pytest.raises(RunInProgressError):
                await aio.trigger(orders, "order-1", Order(), connection=mine)
            await aio.resume(run_id, who="ann", connection=mine)
            assert (await aio.view(orders, run_id, connection=mine)).version == 3
            assert await aio.live_run(orders, "order-1", connection=mine) == run_id
            await mine.commit()
        with pytest.raises(RunNotFoundError):
            await aio.view(orders, dropped)
        return (await aio.wait_until_ended(orders, run_id, LONG)).status.name

    with shop.engine() as engine, engine.serving(orders):
        assert asyncio.run(serve(engine)) == "BOOKED"
    assert shop.entered() == ["kept"]


# -- steps ---------------------------------------------------------------------------------------


def test_rows_of_a_step_are_there_once_when_its_body_fails_after_them(shop: Shop) -> None:
    """Seen to fail with the transaction committed whatever the body answered."""

    def body(run: OrderRun) -> None:
        with Session(run.connection) as session:
            shop.enter(session, f"{run.foreign_id} {run.attempt}")
            session.commit()  # of the session: the step's transaction goes on
        if run.attempt < 3:
            raise ValueError("not yet")

    orders = orders_with(body, transaction=True)
    with shop.engine() as engine, engine.serving(orders):
        ids = [engine.trigger(orders, f"order-{n}", Order()) for n in range(3)]
        for run_id in ids:
            assert engine.wait_until_ended(orders, run_id, LONG).status is Status.BOOKED
    assert shop.entered() == [f"order-{n} 3" for n in range(3)]


def test_verbs_in_a_step_write_in_its_transaction(shop: Shop) -> None:
    """Seen to fail on SQLite with a verb that wrote by itself: it waited for its own step."""

    def body(run: OrderRun) -> None:
        shop.enter(run.connection, run.foreign_id)
        engine.trigger(parcels, run.foreign_id, Order())
        if run.attempt == 1:
            raise ValueError("not yet")

    orders = orders_with(body, transaction=True)
    parcels = Workflow("parcels", Order, Status, ends=(Status.BOOKED,))
    parcels.add_step(Status.ORDERED, lambda run: Status.BOOKED, to=[Status.BOOKED])
    with shop.engine() as engine, engine.serving(orders, parcels):
        run_id = engine.trigger(orders, "order-1", Order())
        engine.wait_until_ended(orders, run_id, LONG)
        parcel = engine.trigger_many(parcels, [Trigger("order-1", Order())])[0]
        if isinstance(parcel, RunInProgressError):
            engine.wait_until_ended(parcels, parcel.live_run_id, LONG)
    assert shop.entered() == ["order-1"]


def test_steps_in_transactions_leave_connections_for_all_else(shop: Shop) -> None:
    """Seen to fail without the cap: twenty bodies held all connections, and nobody could commit."""
    lock, most, now = threading.Lock(), 0, 0
    doors = threading.Event()

    def body(run: OrderRun) -> None:
        nonlocal most, now
        shop.enter(run.connection, run.foreign_id)
        with lock:
            now += 1
            most = max(most, now)
        if shop.kind != "sqlite":
            doors.wait(LONG.total_seconds())
        with lock:
            now -= 1

    orders = orders_with(body, transaction=True, concurrency=20)
    plain = Workflow("plain", Order, Status, ends=(Status.BOOKED,))
    plain.add_step(Status.ORDERED, lambda run: Status.BOOKED, to=[Status.BOOKED])
    with (
        shop.engine(pool_size="4", role_lease="1s") as engine,
        engine.serving(orders, plain) as serving,
    ):
        ids = [engine.trigger(orders, f"order-{n:02}", Order()) for n in range(12)]
        for number in range(10):  # others go on meanwhile, and nobody's roles are lost
            run_id = engine.trigger(plain, f"plain-{number}", Order())
            engine.wait_until_ended(plain, run_id, LONG)
        assert serving.roles
        doors.set()
        for run_id in ids:
            assert engine.wait_until_ended(orders, run_id, LONG).attempts == 0
    assert most <= (1 if shop.kind == "sqlite" else 2)
    assert shop.entered() == [f"order-{n:02}" for n in range(12)]
