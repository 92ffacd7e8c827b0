"""Steps that take their process with them, really: it is restarted as often as it dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from workflow_core import Engine, RunState, Trigger

from tests.faults.killers import PAUSE_AFTER, Order, Status, open_engine, orders

PROGRAM = Path(__file__).with_name("killers.py")
PATIENCE = 60  # seconds in which a process has died or all is done, however slow the machine
MOST_DEATHS = 12
LOOK = timedelta(milliseconds=20)


class Supervisor:
    """Starts the process again as often as it dies, as a container's would."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.said: list[list[str]] = []
        """What each of the processes said, life by life."""
        self.deaths: list[int] = []

    def run_until(self, engine: Engine, run_ids: Sequence[str]) -> None:
        """Until none of these runs is live and unpaused any more."""
        while True:
            with self._life() as process:
                while process.poll() is None:
                    if all(has_come_to_rest(engine, run_id) for run_id in run_ids):
                        return
                    try:
                        process.wait(LOOK.total_seconds())
                    except subprocess.TimeoutExpired:
                        continue
                self.deaths.append(process.returncode)
                assert len(self.deaths) <= MOST_DEATHS, "it dies for ever"

    @contextmanager
    def _life(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self._database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said: list[str] = []
        self.said.append(said)
        assert process.stdin is not None
        assert process.stdout is not None
        listener = threading.Thread(target=lambda: said.extend(process.stdout or ()))
        listener.start()
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(PATIENCE)
            listener.join()
            process.stdout.close()

    def began(self, name: str) -> int:
        """How often a body of this run began, over all lives."""
        return sum(line.startswith(f"began {name} ") for life in self.said for line in life)


def has_come_to_rest(engine: Engine, run_id: str) -> bool:
    state = engine.view(orders, run_id).state
    return state.is_finished or state is RunState.PAUSED


@pytest.mark.parametrize(
    ("status", "dies_by"),
    [
        pytest.param(Status.PLAIN, signal.SIGSEGV, id="crash"),
        pytest.param(Status.ASYNC, signal.SIGKILL, id="no memory left, in an async step"),
        pytest.param(Status.TRANSACTION, signal.SIGSEGV, id="crash, in a transaction"),
    ],
)
def test_step_that_kills_its_process_is_paused_and_its_neighbours_finish(
    status: Status, dies_by: signal.Signals, tmp_path: Path
) -> None:
    """Seen to fail when suspects were run like all others: the process died for ever."""
    with open_engine(tmp_path / "orders.db") as engine:
        engine.trigger(orders, "killer", Order(0.05, dies_by), status=status)
        neighbours = [
            Trigger(f"{each.name}-{number}", Order(0.1), status=each)
            for each in (Status.PLAIN, Status.ASYNC, Status.TRANSACTION)
            for number in range(5)
        ]
        ids = [str(answer) for answer in engine.trigger_many(orders, neighbours)]
        killer = engine.live_run(orders, "killer")
        assert killer is not None
        supervisor = Supervisor(tmp_path / "orders.db")
        supervisor.run_until(engine, [killer, *ids])
        paused = engine.view(orders, killer)
        assert (paused.state, paused.attempts) == (RunState.PAUSED, PAUSE_AFTER)
        assert "its process died" in paused.reason
        deaths = 2 + PAUSE_AFTER
        assert supervisor.deaths == [-dies_by] * deaths
        for run_id in ids:
            view = engine.view(orders, run_id)
            assert (view.state, view.attempts) == (RunState.COMPLETED, 0)
        # The first two deaths may take any with them, and the third what ran beside the killer,
        # since its moment alone was over. From then on it has its process to itself.
        assert supervisor.began("killer") == deaths
        assert max(supervisor.began(trigger.foreign_id) for trigger in neighbours) <= 4
