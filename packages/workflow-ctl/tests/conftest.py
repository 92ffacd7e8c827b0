"""A shop with its workflow as a module of its own, a database, and the command at hand."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner
from workflow_core import Engine
from workflow_ctl.app import cli

SHOP = """
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Literal

from workflow_core import Retry, Run, Workflow


class Status(IntEnum):
    CREATED = 1
    AWAITING_PAYMENT = 2
    PAID = 3
    SHIPPED = 4


@dataclass
class Order:
    total: int = 0
    receipt: str = ""


HOUR = timedelta(hours=1)
orders = Workflow("orders", Order, Status, ends=(Status.SHIPPED,), search=("total",))


@orders.step(Status.CREATED, retry=Retry(first=HOUR, maximum=HOUR))
def check(run: Run[Order, Status]) -> Literal[Status.AWAITING_PAYMENT]:
    if run.data.total < 0:
        raise ValueError("less than nothing \\x1b[2J")
    return Status.AWAITING_PAYMENT


@orders.callback(Status.AWAITING_PAYMENT)
def paid(run: Run[Order, Status], receipt: str) -> Literal[Status.PAID]:
    run.data.receipt = receipt
    return Status.PAID


@orders.step(Status.PAID)
def ship(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
    return Status.SHIPPED


refunds = Workflow("refunds", Order, Status, ends=(Status.SHIPPED,))


@refunds.step(Status.CREATED)
def refund(run: Run[Order, Status]) -> Literal[Status.SHIPPED]:
    return Status.SHIPPED


everything = [orders, refunds]


def made():
    return {"orders": orders}
"""

T = TypeVar("T")
SOON = timedelta(seconds=60)


@dataclass
class Answer:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shop:
    """The command, on one SQLite file and the shop's definitions."""

    folder: Path
    module: Any
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def file(self) -> str:
        return str(self.folder / "shop.db")

    def run(self, *words: str, code: int = 0, given: str | None = None) -> Answer:
        """The command in this process, as its test runner has it."""
        done = CliRunner().invoke(cli, list(words), input=given, prog_name="workflow")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return Answer(done.exit_code, done.stdout, done.stderr)

    def here(self, *words: str, code: int = 0, given: str | None = None) -> Answer:
        """The same on the shop's file."""
        return self.run(*words, "--embedded", self.file, code=code, given=given)

    def known(self, *words: str, code: int = 0, given: str | None = None) -> Answer:
        """The same with the shop's definitions."""
        return self.here(*words, "--app", "ctl_shop:everything", code=code, given=given)

    def trigger(self, foreign_id: str, total: int = 5) -> str:
        data = json.dumps({"total": total})
        answer = self.known("trigger", "orders", foreign_id, "--data", data, "--json")
        run_id: str = answer.json["run_id"]
        return run_id

    def serve(self, until: Callable[[Engine], object]) -> None:
        """Work on the shop's workflows until this has been waited for."""
        with Engine.embedded(self.file) as engine, engine.serving(*self.module.everything):
            until(engine)

    def to_payment(self, *run_ids: str) -> None:
        orders, goal = self.module.orders, self.module.Status.AWAITING_PAYMENT

        def wait(engine: Engine) -> None:
            for run_id in run_ids:
                engine.wait_for(orders, run_id, goal, SOON)

        self.serve(wait)

    def start(
        self,
        *words: str,
        told: Path | None = None,
        environ: Mapping[str, str] | None = None,
        **more: Any,
    ) -> subprocess.Popen[str]:
        """The command as a process of its own; `told`: the file for its standard error."""
        if told is not None:
            with told.open("w") as file:
                return self.start(*words, environ=environ, **more, stderr=file)
        process = subprocess.Popen(
            [sys.executable, "-m", "workflow_ctl", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), **(environ or {})},
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
        )
        self.started.append(process)
        return process

    def until(self, question: Callable[[], T], what: str) -> T:
        """Ask until the answer is yes; fails by name when it stays no."""
        end = time.monotonic() + SOON.total_seconds()
        while time.monotonic() < end:
            if answer := question():
                return answer
            time.sleep(0.05)
        raise AssertionError(f"it never came true: {what}")

    def children(self, process: subprocess.Popen[str], count: int) -> list[int]:
        """The processes that it has started, where there are so many; else none."""
        told = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(pid) for pid in told] if len(told) == count else []


@pytest.fixture(scope="session")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "ctl_shop.py").write_text(SHOP)
    return folder


@pytest.fixture
def shop(module_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(str(module_folder))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WORKFLOW_")]:
        monkeypatch.delenv(name)
    (tmp_path / "ctl_shop.py").write_text(SHOP)
    made = Shop(tmp_path, importlib.import_module("ctl_shop"))
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
