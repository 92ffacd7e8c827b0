"""Whole workflows over any combination of adapters.

What each port's contract cannot see: whether the four of them, as one process holds them, carry a
run from its beginning to its end. The cases serve with engines as an application does, in real
time, and look at what came out.

To be imported from here: this module needs the engine, the rest of the suite does not.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import ClassVar, Literal, Protocol, cast

import pytest
from workflow_core import Callback, Engine, Retry, Run, RunState, Workflow
from workflow_core.discovery import Adapters
from workflow_core.ports import Adapter

from workflow_adaptertest.contract import Contract, Opener
from workflow_adaptertest.env import Env

__all__ = ["AcceptanceContract", "Journey", "Shop", "ShopRun", "Status"]

_SOON = timedelta(milliseconds=20)


class Status(IntEnum):
    """Where an order is."""

    ORDERED = 1
    AWAITING_PAYMENT = 2
    COOLING = 3
    READY = 4
    SHIPPED = 5


@dataclass
class Shop:
    """An order."""

    number: int
    receipt: str = ""


ShopRun = Run[Shop, Status]


class Journey:
    """A workflow with all that moves a run: a step, its retry, a callback, a timer.

    Attributes:
        workflow: the definition.
        paid: its callback.
        did: how often which body was executed, by the run's idempotency key.
    """

    def __init__(self, name: str = "orders") -> None:
        self.did: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.workflow = orders = Workflow(name, Shop, Status, ends=(Status.SHIPPED,))

        @orders.step(Status.ORDERED, retry=Retry(first=_SOON, maximum=_SOON))
        def check(run: ShopRun) -> Literal[Status.AWAITING_PAYMENT]:
            if self._note(run, "check") == 1:
                raise ConnectionError("the first attempt fails")
            return Status.AWAITING_PAYMENT

        @orders.callback(Status.AWAITING_PAYMENT)
        def paid(run: ShopRun, receipt: str) -> Literal[Status.COOLING]:
            run.data.receipt = receipt
            return Status.COOLING

        @orders.timeout(Status.COOLING, after=_SOON)
        def release(run: ShopRun) -> Literal[Status.READY]:
            self._note(run, "release")
            return Status.READY

        @orders.step(Status.READY)
        def ship(run: ShopRun) -> Literal[Status.SHIPPED]:
            self._note(run, "ship")
            return Status.SHIPPED

        self.paid: Callback[Shop, Status, str] = paid

    def _note(self, run: ShopRun, what: str) -> int:
        with self._lock:
            self.did[run.idempotency_key, what] += 1
            return self.did[run.idempotency_key, what]

    def take(self, engine: Engine, name: str, patience: timedelta) -> str:
        """Lead one run from its beginning to its end; answers its id.

        Raises:
            NotReachedError: it does not get on.
        """
        run_id = self.begin(engine, name)
        self.finish(engine, run_id, patience)
        return run_id

    def begin(self, engine: Engine, name: str) -> str:
        """Order."""
        return str(engine.trigger(self.workflow, name, Shop(number=1)))

    def finish(self, engine: Engine, run_id: str, patience: timedelta) -> None:
        """Pay when it is time to, and see it shipped."""
        engine.wait_for(self.workflow, run_id, Status.AWAITING_PAYMENT, timeout=patience)
        engine.callback(self.paid, run_id, "receipt-1")
        done = engine.wait_for(self.workflow, run_id, Status.SHIPPED, timeout=patience)
        assert done.data.receipt == "receipt-1", "what a callback wrote is in the run's data"

    def judge(self, engine: Engine, run_id: str) -> None:
        """The run has ended, and each body has run as often as it had to."""
        view = engine.view(self.workflow, run_id)
        assert (view.state, view.status) == (RunState.COMPLETED, Status.SHIPPED)
        mine = Counter(what for key, what in self.did.elements() if key.startswith(f"{run_id}/"))
        assert set(mine) == {"check", "release", "ship"}, f"{run_id} ran {dict(mine)}"
        assert mine["check"] >= 2, "the failed attempt was tried again"


class _Process(Protocol):
    def __call__(self, *, serves: bool = True) -> Engine: ...


class AcceptanceContract(Contract):
    """What any four adapters do together. Write ``adapter``: one process's adapters, open.

    ``fake_clock`` is off: engines serve in real time.
    """

    port: ClassVar[str] = "whole workflows"
    fake_clock: ClassVar[bool] = False

    def adapter(self, env: Env) -> AbstractContextManager[Adapters]:
        """Make a process's adapters over the env's data; each call is another process."""
        return cast("AbstractContextManager[Adapters]", super().adapter(env))

    def _basic_calls(
        self, handle: Adapters, env: Env, make: object
    ) -> Mapping[str, Callable[[], object]]:
        journey = Journey()
        engine = env.entered(Engine(handle))
        return {
            "trigger one run": lambda: journey.begin(engine, f"order-{env.random.random()}"),
        }

    def _adapters_of(self, handle: Adapters) -> Sequence[Adapter]:
        four = (
            handle.record_store,
            handle.event_streamer,
            handle.role_scheduler,
            handle.timeout_store,
        )
        return [adapter for adapter in four if adapter is not None]

    @pytest.fixture
    def journey(self) -> Journey:
        """The workflow of the cases."""
        return Journey()

    @pytest.fixture
    def process(self, open_handle: Opener, journey: Journey) -> Iterator[_Process]:
        """Starts engines, each with adapters of its own as another process has them."""
        with ExitStack() as stack:

            def start(*, serves: bool = True) -> Engine:
                engine = stack.enter_context(Engine(open_handle()))
                if serves:
                    stack.enter_context(engine.serving(journey.workflow))
                return engine

            yield start

    def test_run_goes_all_the_way_when_one_process_serves(
        self, process: _Process, journey: Journey, env: Env
    ) -> None:
        engine = process()
        journey.judge(engine, journey.take(engine, "order-1", env.patience))

    def test_runs_go_all_the_way_when_a_client_begins_them(
        self, process: _Process, journey: Journey, env: Env
    ) -> None:
        client = process(serves=False)
        run_ids = [journey.begin(client, f"order-{number}") for number in range(5)]
        process()
        for run_id in run_ids:
            journey.finish(client, run_id, env.patience)
            journey.judge(client, run_id)

    def test_runs_go_all_the_way_when_a_process_leaves_the_others(
        self, process: _Process, journey: Journey, env: Env
    ) -> None:
        leaving, staying = process(), process()
        run_ids = [journey.begin(staying, f"order-{number}") for number in range(10)]
        journey.finish(staying, run_ids[0], env.patience)
        leaving.close()
        for run_id in run_ids[1:]:
            journey.finish(staying, run_id, env.patience)
        for run_id in run_ids:
            journey.judge(staying, run_id)
        twice = {key: count for key, count in journey.did.items() if count > 1}
        again = {what for _, what in twice}
        assert again <= {"check"}, f"an orderly leave runs nothing twice: {twice}"

    def test_runs_go_on_when_the_process_that_served_them_is_followed_by_another(
        self, process: _Process, journey: Journey, env: Env
    ) -> None:
        first = process()
        run_id = journey.begin(first, "order-1")
        first.wait_for(journey.workflow, run_id, Status.AWAITING_PAYMENT, timeout=env.patience)
        first.close()
        second = process()
        journey.finish(second, run_id, env.patience)
        journey.judge(second, run_id)

    def test_cancelled_run_stays_where_it_is_when_its_callback_comes_late(
        self, process: _Process, journey: Journey, env: Env
    ) -> None:
        engine = process()
        run_id = journey.begin(engine, "order-1")
        engine.wait_for(journey.workflow, run_id, Status.AWAITING_PAYMENT, timeout=env.patience)
        engine.cancel(run_id, reason="called off")
        other = journey.take(engine, "order-1", env.patience)  # its foreign id is free again
        assert engine.view(journey.workflow, run_id).state is RunState.CANCELLED
        journey.judge(engine, other)
