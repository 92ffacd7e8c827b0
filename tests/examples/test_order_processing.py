"""The main job as a person runs it: through to its end, stopped by Ctrl-C, killed."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHIPPED_ORDERS = EXAMPLES / "order_processing" / "orders.csv"

Job = Callable[[], "subprocess.Popen[str]"]


UNPAID = "order-unpaid,100,,1 High Street,5\n"  # nobody pays it, so its timer ends it: after 5 s


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Starts the job on 1,000 orders, in the same files each time."""
    return starter(tmp_path, shipped(1_000))


@pytest.fixture
def long_job(tmp_path: Path) -> Job:
    """The same, and it does not end before somebody had the time to interrupt it."""
    return starter(tmp_path, [*shipped(999), UNPAID])


def shipped(count: int) -> list[str]:
    """The header and the first of the shipped orders."""
    return SHIPPED_ORDERS.read_text(encoding="utf-8").splitlines(keepends=True)[: count + 1]


def starter(tmp_path: Path, lines: list[str]) -> Job:
    orders = tmp_path / "orders.csv"
    orders.write_text("".join(lines), encoding="utf-8")

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "order_processing", "orders.db", "--orders", orders],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # whoever runs the tests in the background has its children ignore it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "DIFFERS" not in output
    return output


def interrupt_in_the_middle(process: "subprocess.Popen[str]", number: int) -> int:
    """Once the first progress is shown."""
    assert process.stdout is not None
    next(line for line in process.stdout if "orders settled" in line)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def test_diagram_in_the_readme_is_that_of_the_workflow() -> None:
    """Seen to fail with a target more. What differs is to be copied into the readme."""
    show = (
        "from order_processing.flow import Orders\n"
        "from typing import Any, cast\n"
        "print(Orders(cast(Any, None)).workflow.diagram(), end='')"
    )
    drawn = subprocess.run(
        [sys.executable, "-c", show],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    readme = (EXAMPLES / "order_processing" / "README.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{drawn}```" in readme, drawn


def test_job_reconciles_with_its_file_when_left_alone(job: Job) -> None:
    assert "1,000 of 1,000 orders settled" in finish(job())


def test_job_changes_nothing_when_run_again_at_the_end(job: Job) -> None:
    first, second = finish(job()), finish(job())
    assert first[first.index("orders  ") :] == second[second.index("orders  ") :]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_job_loses_and_repeats_nothing_when_stopped_in_order(
    long_job: Job, number: signal.Signals
) -> None:
    """Seen to fail when a stop abandons what is in hand instead of finishing it."""
    assert interrupt_in_the_middle(long_job(), number) == 130
    assert "ok, more" not in finish(long_job()), "a step was executed again after an orderly stop"


def test_job_loses_nothing_when_killed(long_job: Job) -> None:
    """Seen to fail when events are published outside of the transaction of their record."""
    assert interrupt_in_the_middle(long_job(), signal.SIGKILL) == -signal.SIGKILL
    finish(long_job())


def test_shipped_file_is_the_one_that_its_script_makes() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import make_orders, json; print(json.dumps(make_orders.rows()))"],
        cwd=EXAMPLES / "order_processing",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    with SHIPPED_ORDERS.open(newline="", encoding="utf-8") as file:
        shipped = list(csv.DictReader(file))
    expected = json.loads(made)
    assert shipped == [{key: str(value) for key, value in row.items()} for row in expected]
