"""The examples where whatever can go wrong does: a few hundred seeds in CI, some dozens else."""

import importlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from workflow_core import RunState, RunView, Trigger
from workflow_core.testing import simulate

UNDER_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
SEEDS = 160 if UNDER_CI else 60
"""Of each example; some take a second each on a slow machine."""
PARTS = 4
MOVES = 60


class Provider:
    """Takes money once per key, and its answer may get lost after it has."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}

    def begin(self, dice: random.Random) -> None:
        self.charged = {}
        self._dice = dice

    def charge(self, key: str, cents: int, card: str) -> str:
        self.charged[key] = cents
        if self._dice.random() < 0.3:
            raise TimeoutError("no answer within the time limit")
        return f"receipt for {key}"


@pytest.mark.parametrize("part", range(PARTS))
def test_orders_are_paid_once_whatever_goes_wrong(examples: None, part: int) -> None:
    """Seen to fail where the provider is asked with a key of each attempt's own."""
    flow: Any = importlib.import_module("order_processing.flow")
    provider = Provider()
    orders = flow.Orders(provider)

    def order(dice: random.Random) -> Trigger[Any]:
        cents = dice.choice((0, 100, flow.LARGE_CENTS + 1))
        address = dice.choice(("", "1 High Street", "1 High Street"))
        return Trigger(f"order-{dice.randrange(5)}", flow.Order(cents, address, dice.random() * 60))

    def paid_once(run: RunView[Any, Any]) -> None:
        charges = [c for key, c in provider.charged.items() if key.startswith(run.run_id)]
        assert len(charges) <= 1
        if run.status is flow.Status.SHIPPED:
            assert charges == [run.data.total_cents]
            assert run.data.receipt

    done = simulate(
        orders.workflow,
        seeds=range(part, SEEDS, PARTS),
        trigger=order,
        payloads={orders.approved: lambda dice: "ann", orders.paid_with: lambda dice: "a card"},
        may_wait=[flow.Status.AWAITING_APPROVAL],
        prepare=provider.begin,
        check=paid_once,
        moves=MOVES,
    )
    assert done.runs > done.seeds, "else nothing was simulated"


@pytest.mark.parametrize("part", range(PARTS))
def test_batches_count_each_text_once_whatever_goes_wrong(examples: None, part: int) -> None:
    """Seen to fail where a batch goes on with one count less."""
    flow: Any = importlib.import_module("fan_out.flow")

    def batch(dice: random.Random) -> Trigger[Any]:
        return Trigger(f"batch-{dice.randrange(3)}", flow.Batch(["a b"] * dice.randint(1, 3)))

    def counted(run: RunView[Any, Any]) -> None:
        if run.workflow == "batches" and run.state is RunState.COMPLETED:
            assert run.data.words == dict.fromkeys(range(len(run.data.texts)), 2)

    done = simulate(
        flow.batches,
        beside=[flow.texts],
        seeds=range(part, SEEDS, PARTS),
        trigger=batch,
        payloads={flow.counted: lambda dice: (0, 2)},
        may_wait=[flow.BatchStatus.COUNTING],  # where somebody has cancelled one of its texts
        check=counted,
        moves=MOVES,
    )
    assert done.runs > done.seeds, "else nothing was simulated"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
