"""``workflow run`` as processes: signals, several processes, restarts, dead parents, a terminal."""

from __future__ import annotations

import gc
import json
import os
import pty
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from workflow_core import Engine
from workflow_ctl.exits import Exit
from workflow_ctl.supervising import Child, Supervisor
from workflow_ctl.tuning import tuned

if TYPE_CHECKING:
    from tests.conftest import Shop

SOON = timedelta(seconds=60)


def until_served(shop: Shop, run_id: str) -> None:
    """The run has come to payment: some process works."""
    with Engine.embedded(shop.file) as engine:
        engine.wait_for(shop.module.orders, run_id, shop.module.Status.AWAITING_PAYMENT, SOON)


def stop(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_works_until_a_signal_and_ends_in_order(shop: Shop, number: int) -> None:
    run_id = shop.trigger("order-1")
    process = shop.start("run", "ctl_shop:everything", "--embedded", shop.file)
    until_served(shop, run_id)
    code, err = stop(process, number)
    assert code == Exit.OK, err
    assert "serving orders, refunds" in err
    assert "Traceback" not in err


TUNED = """
import gc
import json
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

from workflow_core import Run, Workflow

Status = IntEnum("Status", ["NEW", "DONE"])

@dataclass
class Nothing:
    pass

flow = Workflow("tuned", Nothing, Status, ends=(Status.DONE,))

@flow.step(Status.NEW)
def count(run: Run[Nothing, Status]) -> Literal[Status.DONE]:
    Path("tuned.json").write_text(json.dumps([gc.get_freeze_count(), sys.getswitchinterval()]))
    return Status.DONE
"""


def test_process_that_only_serves_is_tuned_for_it(shop: Shop) -> None:
    """Seen to fail without the freeze, and without the shorter turns.

    A full collection stops a worker for 0.1 s; and beside one body that computes, a hop on SQLite
    took 44 ms instead of 5.
    """
    (shop.folder / "ctl_tuned.py").write_text(TUNED)
    process = shop.start("run", "ctl_tuned", "--embedded", shop.file)
    words = ["trigger", "tuned", "one", "--data", "{}", "--app", "ctl_tuned"]
    shop.start(*words, "--embedded", shop.file).communicate(timeout=60)
    told = shop.folder / "tuned.json"
    shop.until(lambda: told.exists() and told.read_text(), "the step ran")
    frozen, turn = json.loads(told.read_text())
    assert frozen > 10_000
    assert turn == pytest.approx(0.001, rel=0.01)
    assert stop(process, signal.SIGTERM)[0] == Exit.OK


def test_tuning_ends_with_its_block_and_makes_no_turn_longer() -> None:
    """Seen to fail without the end, and with a fixed turn."""
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.0004)
        with tuned():
            assert sys.getswitchinterval() == pytest.approx(0.0004, rel=0.01)
        sys.setswitchinterval(0.004)
        with tuned():
            assert sys.getswitchinterval() == pytest.approx(0.001, rel=0.01)
        assert sys.getswitchinterval() == pytest.approx(0.004, rel=0.01)
        assert gc.get_freeze_count() == 0
    finally:
        sys.setswitchinterval(before)


HELD = """
import ctypes
from datetime import timedelta

import workflow_ctl.signals
from ctl_shop import orders
from workflow_core import Serving

workflow_ctl.signals._BEYOND = timedelta(0)


def stand_still(serving, grace=None):
    ctypes.PyDLL(None).sleep(600)  # as a library's close may: Python's lock is never let go


Serving.stop = stand_still
"""


def test_process_ends_though_its_stop_stands_still_with_pythons_lock(shop: Shop) -> None:
    """No thread of Python's runs any more, and no handler of a signal.

    Seen to fail without a thread that needs no lock: it stood for the ten minutes.
    """
    (shop.folder / "held.py").write_text(HELD)
    run_id = shop.trigger("order-1")
    words = ["--embedded", shop.file, "--set", "engine.stop_grace=1s"]
    process = shop.start("run", "held:orders", *words)
    until_served(shop, run_id)
    code, err = stop(process, signal.SIGTERM)
    assert code == 1
    assert "Timeout" in err
    assert "in stand_still" in err, "it says where it stood"


def test_run_says_what_is_wrong_before_it_starts_anything(shop: Shop) -> None:
    for words in (["nowhere"], [], ["ctl_shop:order"]):
        process = shop.start("run", *words, "--embedded", shop.file)
        _, err = process.communicate(timeout=60)
        assert process.returncode == Exit.USAGE
        assert "Traceback" not in err


def test_run_in_several_processes_starts_a_dead_one_again(shop: Shop) -> None:
    """Seen to fail when a dead child was left dead."""
    words = ["run", "ctl_shop", "-n", "2", "--embedded", shop.file]
    process = shop.start(*words, told=Path("err"))
    children = shop.until(lambda: shop.children(process, 2), "two processes")
    until_served(shop, shop.trigger("order-1"))
    os.kill(children[0], signal.SIGKILL)
    shop.until(
        lambda: [pid for pid in shop.children(process, 2) if pid not in children],
        "another process in its place",
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Exit.OK
    told = Path("err").read_text()
    assert "ended by signal 9; it is started again" in told
    assert not any(is_alive(pid) for pid in children)


def test_children_end_when_their_parent_is_killed(shop: Shop) -> None:
    """Seen to fail when nobody watched the parent."""
    process = shop.start("run", "ctl_shop", "-n", "2", "--embedded", shop.file)
    children = shop.until(lambda: shop.children(process, 2), "two processes")
    until_served(shop, shop.trigger("order-1"))
    process.kill()
    shop.until(lambda: not any(is_alive(pid) for pid in children), "that they end")


def test_a_hang_up_restarts_one_after_the_other_and_loses_nothing(shop: Shop) -> None:
    process = shop.start("run", "ctl_shop", "-n", "2", "--embedded", shop.file, told=Path("err"))
    before = shop.until(lambda: shop.children(process, 2), "two processes")
    until_served(shop, shop.trigger("order-0"))
    process.send_signal(signal.SIGHUP)
    run_ids = [shop.trigger(f"order-{number}") for number in range(1, 6)]
    shop.until(lambda: "rolling restart: done" in Path("err").read_text(), "the restart")
    assert not set(shop.children(process, 2)) & set(before)
    for run_id in run_ids:
        until_served(shop, run_id)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Exit.OK


def test_child_is_told_once_when_a_stop_comes_in_its_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its second signal ends it at once. Seen to fail when each stop told all of them."""
    told: list[int] = []
    monkeypatch.setattr(Child, "tell", lambda child, number: told.append(number))
    child = Child(1, [])
    supervisor = Supervisor([child], lambda sentence: None)
    child.stop()  # as a rolling restart does
    supervisor._heed(signal.SIGTERM)
    assert told == [signal.SIGTERM]
    supervisor._heed(signal.SIGTERM)
    assert told == [signal.SIGTERM] * 2


def test_several_processes_end_together_when_used_wrongly(shop: Shop) -> None:
    (shop.folder / "half.py").write_text(
        "import sys\nfrom ctl_shop import orders\n"
        "if '--child' in sys.argv:\n    raise RuntimeError('not in a child')\n"
    )
    process = shop.start("run", "half", "-n", "2", "--embedded", shop.file)
    _, err = process.communicate(timeout=60)
    assert process.returncode == Exit.USAGE
    assert "not in a child" in err


def test_a_terminal_has_a_live_view(shop: Shop) -> None:
    run_id = shop.trigger("order-1")
    ours, theirs = pty.openpty()
    environ = {"TERM": "xterm", "COLUMNS": "100"}
    process = shop.start(
        "run", "ctl_shop", "--embedded", shop.file, stdout=theirs, stderr=theirs, environ=environ
    )
    os.close(theirs)
    until_served(shop, run_id)
    shown = ""

    def is_shown() -> bool:
        nonlocal shown
        shown += os.read(ours, 65536).decode()
        return "AWAITING_PAYMENT" in shown and "serving orders" in shown

    shop.until(is_shown, "the counts of runs")
    process.send_signal(signal.SIGINT)
    try:
        while os.read(ours, 65536):
            pass
    except OSError:
        pass
    os.close(ours)
    assert process.wait(timeout=60) == Exit.OK


def test_completion_is_there_for_shells(shop: Shop) -> None:
    script = "from workflow_ctl import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "_WORKFLOW_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "_workflow_completion" in done.stdout


def test_an_unexpected_error_is_no_wall_of_text(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workflow_ctl import main

    def broken(*asked: object, **how: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Engine, "counts", broken)
    with pytest.raises(SystemExit) as ended:
        main(["stats", "--embedded", shop.file])
    assert ended.value.code == Exit.FAILED
    assert "a mistake" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        main(["--traceback", "stats", "--embedded", shop.file])
