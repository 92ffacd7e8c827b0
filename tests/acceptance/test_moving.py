"""Live systems moved to other adapters: nothing is lost, and nothing is done twice.

Runs stand at several statuses, wait for timers, back off, are paused or begin later; events wait in
the outbox, a hook's letter is dead, and a schedule has a past. The streamer is not moved: what was
in it is found again by the reconciler.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from workflow_adaptertest.servers import Space
from workflow_core import (
    Engine,
    RecordQuery,
    Retry,
    Run,
    RunState,
    RunView,
    Skip,
    Trigger,
    Workflow,
)
from workflow_core.errors import MoveError
from workflow_core.moving import Digest, Stores, copy, digest_of, switch
from workflow_ctl.app import cli
from workflow_sql import Database, SqlRecordStore, SqlTimeoutStore, upgrade

PATIENCE = 60
SECOND = timedelta(seconds=1)


class Status(IntEnum):
    RECEIVED = 1
    COOLING = 2
    READY = 3
    SHIPPED = 4


@dataclass
class Order:
    cools: float = 0.5  # after the reminder, however late both are looked at
    fails: bool = False


class World:
    """What the functions see and do; `has_moved` tells the two systems apart."""

    def __init__(self) -> None:
        self.did: Counter[tuple[str, str]] = Counter()
        self.has_moved = False
        self.orders = self._defined()

    def _defined(self) -> Workflow[Order, Status]:
        orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,))

        @orders.step(Status.RECEIVED)
        def pay(run: Run[Order, Status]) -> Literal[Status.COOLING]:
            self.did[run.idempotency_key, "pay"] += 1
            return Status.COOLING

        @orders.timeout(Status.COOLING, after=timedelta(milliseconds=1))
        def remind(run: Run[Order, Status]) -> Skip:
            self.did[run.idempotency_key, "remind"] += 1
            return Skip()

        @orders.timeout(Status.COOLING, fires_at=lambda run, now: now + SECOND * run.data.cools)
        def release(run: Run[Order, Status]) -> Literal[Status.READY]:
            self.did[run.idempotency_key, "release"] += 1
            return Status.READY

        @orders.step(Status.READY, retry=Retry(first=6 * SECOND, jitter=False))
        def ship(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
            if run.data.fails and not self.has_moved:
                raise ConnectionError("no carrier answers")
            self.did[run.idempotency_key, "ship"] += 1
            return Status.SHIPPED

        @orders.on_complete(retry=Retry(pause_after=1))
        def thank(run: RunView[Order, Status]) -> None:
            if not self.has_moved:
                raise ConnectionError("no mail goes out")
            self.did[run.run_id, "thank"] += 1

        @orders.schedule("yearly", cron="0 0 1 1 *", tz="UTC")
        def yearly(tick: datetime) -> Trigger[Order]:
            return Trigger(f"order of {tick:%Y}", Order())

        return orders


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        threading.Event().wait(0.05)


def settings_of(url: str, others: Mapping[str, object] | None = None) -> dict[str, object]:
    """Everything in this database, but for what is told to be elsewhere."""
    ports = ("record_store", "event_streamer", "role_scheduler", "timeout_store")
    return {
        **dict.fromkeys(ports, "sql"),
        "adapters.sql.url": url,
        "engine.reconcile_age": "1s",
        "engine.reconcile_every": "1s",
        **(others or {}),
    }


@contextmanager
def engine_on(url: str, others: Mapping[str, object] | None = None) -> Iterator[Engine]:
    with Engine.from_config(environ={}, overrides=settings_of(url, others)) as engine:
        yield engine


def move(old: Mapping[str, object], new: Mapping[str, object], *words: str) -> Any:
    """What `workflow move` answers; the configuration moved to is in a file, as it has to be."""
    given = [word for key, value in old.items() for word in ("--set", f"{key}={value}")]
    lines = [f'{key} = "{value}"' for key, value in new.items()]
    Path("new.toml").write_text("\n".join(["[workflow]", *lines]))
    done = CliRunner().invoke(cli, ["move", "--to", "new.toml", "--json", *given, *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@contextmanager
def stores_on(url: str) -> Iterator[Stores]:
    with Database(url) as database:
        yield Stores(records=SqlRecordStore(database), timeouts=SqlTimeoutStore(database))


@pytest.fixture(params=["postgres", "mysql"])
def target_url(request: pytest.FixtureRequest) -> str:
    url = str(request.getfixturevalue(f"{request.param}_space").url)
    upgrade(url)
    return url


@pytest.fixture
def source_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'old.db'}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World()


class Customer:
    """Orders one of each kind, and knows where each has to stand before the move."""

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine = engine
        self.world = world
        self.runs: dict[str, str] = {}

    def order(self, name: str, data: Order | None = None, **options: Any) -> str:
        run_id = self.engine.trigger(self.world.orders, name, data or Order(), **options)
        self.runs[name] = run_id
        return run_id

    def fill(self) -> None:
        """Runs wherever they can stand; some while the system serves, some while it does not."""
        now = self.engine.runs(RecordQuery())  # the first question opens what is opened late
        assert not now.items
        with self.engine.serving(self.world.orders):
            for number in range(5):
                self.order(f"shipped {number}")
                self.order(f"cooling {number}", Order(cools=20))
                self.order(f"failing {number}", Order(fails=True))
                self.order(f"halted {number}", Order(cools=6))
                self.order(f"held {number}", Order(fails=True))
            self.wait_for("halted", lambda r: r.status == Status.COOLING)
            self.pause("halted")
            self.wait_for("shipped", lambda r: r.state is RunState.COMPLETED)
            self.wait_for("failing", lambda r: r.attempts > 0)
            self.wait_for("held", lambda r: r.attempts > 0)
            self.pause("held")
            self.wait_for("cooling", lambda r: r.status == Status.COOLING)
            letters = self.engine.dead_letters
            wait_until(lambda: len(letters(self.world.orders).items) == 5, "letters are dead")
            wait_until(lambda: len(self.parked()) >= 5, "timers are parked")
        for number in range(5):
            self.order(f"received {number}")
            begin = datetime.now().astimezone() + 15 * SECOND
            self.order(f"delayed {number}", start_at=begin)

    def wait_for(self, kind: str, condition: Callable[[Any], bool]) -> None:
        mine = [run_id for name, run_id in self.runs.items() if name.startswith(kind)]
        query = RecordQuery(run_ids=mine, limit=1000)
        wait_until(lambda: all(map(condition, self.engine.runs(query).items)), kind)

    def pause(self, kind: str) -> None:
        for name, run_id in self.runs.items():
            if name.startswith(kind):
                self.engine.pause(run_id, reason="stocktaking")

    def parked(self) -> list[str]:
        store = self.engine.adapters.timeout_store
        assert store is not None
        page = store.list_timeouts("orders", limit=1000)
        return [timeout.key for timeout in page.items if timeout.parked]

    def see_all_end(self, engine: Engine) -> None:
        """On the new system; nothing happens twice, and nothing is missing."""
        orders = self.world.orders
        self.engine = engine
        self.world.has_moved = True
        with engine.serving(orders):
            for name, run_id in self.runs.items():
                if name.startswith(("halted", "held")):
                    engine.resume(run_id, who="ada")
            for letter in engine.dead_letters(orders).items:
                engine.retry_dead_letter(letter)
            self.wait_for("", lambda r: r.state is RunState.COMPLETED)
            thanks = [(run_id, "thank") for run_id in self.runs.values()]
            wait_until(lambda: all(self.world.did[each] for each in thanks), "all are thanked")
        expected = Counter({"pay": 35, "remind": 35, "release": 35, "ship": 35, "thank": 35})
        assert Counter(what for _, what in self.world.did) == expected
        assert set(self.world.did.values()) == {1}, "something was done twice"
        assert len(engine.runs(RecordQuery(workflow="orders", limit=100)).items) == 35


def test_live_system_goes_on_where_it_was_when_it_is_moved(
    source_url: str, target_url: str, world: World
) -> None:
    """Seen to fail without closed timers: runs were reminded twice."""
    with engine_on(source_url) as old:
        customer = Customer(old, world)
        customer.fill()
        schedules = old.schedules()
        history = old.history(customer.runs["shipped 0"])
    sides = settings_of(source_url), settings_of(target_url)
    planned = move(*sides, "--dry-run")
    copied = move(*sides, "--batch", "7")
    assert copied["stages"]["runs"]["written"] == planned["runs"]
    switched = move(*sides, "--batch", "7", "--switch", "--yes")
    assert switched["events"] == planned["events"] > 0
    assert switched["timers"] == planned["timers"] >= 10
    with engine_on(target_url) as new:
        assert new.schedules() == schedules
        assert new.history(customer.runs["shipped 0"]) == history
        customer.see_all_end(new)


@pytest.fixture(params=[("sql", "redis"), ("redis", "sql")], ids="-to-".join)
def timeout_stores(
    request: pytest.FixtureRequest, redis_space: Space
) -> tuple[dict[str, object], dict[str, object]]:
    redis = {"adapters.redis.url": str(redis_space.url), "namespace": redis_space.name}
    old, new = request.param
    return {"timeout_store": old, **redis}, {"timeout_store": new, **redis}


def test_live_system_goes_on_when_its_timers_go_elsewhere(
    source_url: str,
    timeout_stores: tuple[dict[str, object], dict[str, object]],
    world: World,
) -> None:
    """Seen to fail when closed timers stayed behind: runs were reminded twice."""
    before, after = timeout_stores
    with engine_on(source_url, before) as old:
        customer = Customer(old, world)
        customer.fill()
    sides = settings_of(source_url, before), settings_of(source_url, after)
    assert move(*sides, "--switch", "--timers", "--yes")["timers"] >= 10
    with engine_on(source_url, after) as new:
        customer.see_all_end(new)


def test_live_system_goes_on_when_its_roles_are_given_by_another(
    source_url: str, etcd_space: Space, world: World
) -> None:
    """Nothing has to be copied: all processes stop, and others begin."""
    etcd = {
        "role_scheduler": "etcd",
        "adapters.etcd.endpoints": etcd_space.url.bootstrap,
        "adapters.etcd.prefix": f"{etcd_space.name}/roles",
    }
    with engine_on(source_url) as old:
        customer = Customer(old, world)
        customer.fill()
    with engine_on(source_url, etcd) as new:
        customer.see_all_end(new)


def test_copy_goes_on_when_the_source_serves_and_the_copier_was_killed(
    source_url: str, target_url: str, world: World
) -> None:
    """By kill -9 in the midst of a batch or between two; what is there is not written again."""
    stop = threading.Event()
    with engine_on(source_url) as old:
        for number in range(600):
            old.trigger(world.orders, f"before {number}", Order())

        def go_on() -> None:
            number = 0
            while not stop.wait(0.01):
                number += 1
                old.trigger(world.orders, f"meanwhile {number}", Order())

        client = threading.Thread(target=go_on)
        with old.serving(world.orders):
            client.start()
            try:
                seen = killed_copier(source_url, target_url)
                with stores_on(source_url) as source, stores_on(target_url) as target:
                    copy(source, target)
            finally:
                stop.set()
                client.join()
    written: dict[str, int] = {}
    with stores_on(source_url) as source, stores_on(target_url) as target:
        digest = switch(
            source, target, told=lambda told: written.__setitem__(told.stage, told.written)
        )
        assert digest.runs > 600
        assert 0 < seen < 600
        assert digest == whole(source) == whole(target)
        with pytest.raises(MoveError, match="this move was completed"):
            copy(source, target)


COPIER = """
import os, sys
from workflow_core.moving import Stores, copy
from workflow_sql import Database, SqlRecordStore, SqlTimeoutStore

def stores(url):
    database = Database(url)
    return Stores(records=SqlRecordStore(database), timeouts=SqlTimeoutStore(database))

def told(progress):
    print(progress.seen, flush=True)

copy(stores(sys.argv[1]), stores(sys.argv[2]), told=told, batch=5)
"""


def killed_copier(source_url: str, target_url: str) -> int:
    """How many runs it said that it had looked at before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", COPIER, source_url, target_url], stdout=subprocess.PIPE, text=True
    ) as copier:
        assert copier.stdout is not None
        seen = 0
        while seen < 50:
            seen = int(copier.stdout.readline())
        copier.kill()
    return seen


def whole(stores: Stores) -> Digest:
    return digest_of(stores, shared=stores.records.capabilities)


def test_runs_are_driven_again_when_the_streamer_is_changed(
    source_url: str, tmp_path: Path, world: World
) -> None:
    """Their events are left in the old streamer. Seen to fail with the reconciler at rest."""
    with engine_on(source_url) as engine:
        run_ids = [engine.trigger(world.orders, f"order {n}", Order()) for n in range(20)]
    world.has_moved = True
    overrides = {**settings_of(source_url), "event_streamer": "memory"}
    with (
        Engine.from_config(environ={}, overrides=overrides) as engine,
        engine.serving(world.orders),
    ):
        for run_id in run_ids:
            engine.wait_until_ended(world.orders, run_id, timedelta(seconds=PATIENCE))
    steps = [count for (_, what), count in world.did.items() if what != "thank"]
    assert steps == [1] * 80
