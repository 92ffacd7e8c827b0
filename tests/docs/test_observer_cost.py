"""Where nobody observes nothing is paid for it: counted, so that no machine's mood matters."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def counted(build: str) -> dict[str, float]:
    """What a write costs; see benchmarks/observer_cost.py."""
    benchmarks = str(ROOT / "benchmarks")
    done = subprocess.run(
        [sys.executable, "-m", "observer_cost", "--build", build, "--runs", "40", "--rounds", "0"],
        env={**os.environ, "PYTHONPATH": benchmarks, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, float] = json.loads(done.stdout)
    return told


def test_a_write_costs_nothing_more_where_nobody_observes() -> None:
    """Beside the engine without any question about observers, only the questions are left.

    Seen to fail when an engine without observers had somebody to tell them all the same.
    """
    bare, off = counted("bare"), counted("off")
    assert bare["cut"] > 20
    assert off["cut"] == 0
    assert off["calls"] < bare["calls"] * 1.002
    assert off["instructions"] < bare["instructions"] * 1.005
