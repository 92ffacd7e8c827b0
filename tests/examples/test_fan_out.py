"""One parent, many children: the parent goes on when all of them have ended."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from workflow_core import LetterState, RecordQuery
from workflow_core.testing import Driver

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("fan_out.flow")


def test_batch_goes_on_when_all_its_texts_are_counted(flow: Any) -> None:
    with Driver() as driver:
        driver.serve(flow.batches, flow.texts)
        sizes = (1, 2, 40)
        run_ids = [
            driver.engine.trigger(flow.batches, f"{size}", flow.Batch(["a b"] * size))
            for size in sizes
        ]
        driver.settle()
        for size, run_id in zip(sizes, run_ids, strict=True):
            done = driver.engine.view(flow.batches, run_id)
            assert done.status is flow.BatchStatus.COUNTED
            assert done.data.words == dict.fromkeys(range(size), 2)
        counted = driver.engine.runs(RecordQuery(workflow="texts", limit=100)).items
        assert len(counted) == sum(sizes), "each text is begun once"
        everything = list(LetterState)
        for workflow in (flow.batches, flow.texts):
            assert driver.engine.dead_letters(workflow, states=everything).items == []


def test_example_runs_on_a_file(tmp_path: Path) -> None:
    words = [f"{'word ' * n}" for n in range(1, 11)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "fan_out", "words.db", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "10 texts, 55 words\n"), done.stderr
