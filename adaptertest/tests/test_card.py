"""The card tells what a run found, leaves nothing out, and costs nothing when not asked for."""

import importlib.metadata as metadata
import json
from pathlib import Path

import pytest
from workflow_adaptertest import idle

pytest_plugins = ["pytester"]

CASE = "test_timer_is_due_at_once_when_it_has_no_delay"
ASKS = "test_adapter_tells_what_it_is"
TIMERS = f"""
    from workflow_adaptertest import Env, TimeoutStoreContract
    from workflow_core.memory import MemoryDatabase, MemoryTimeoutStore

    class Late(MemoryTimeoutStore):
        def list_valid(self, workflows, *, limit):
            return super().list_valid(workflows, limit=limit)[1:]

        def check_health(self):
            return "late | by one"

    class TestTimers(TimeoutStoreContract):
        known_failures = {{"{CASE}": "the first one is late"}}
        def adapter(self, env):
            database = env.shared("database", lambda: MemoryDatabase(env.clock))
            return Late(database)
"""


@pytest.fixture(autouse=True)
def _quick_idle_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "_WINDOW", 0.01)
    monkeypatch.setattr(idle, "_CPU", 100)


def test_card_tells_all_that_was_found_when_asked_for(pytester: pytest.Pytester) -> None:
    """Seen to fail when a failed, known or unapplicable case is left out of the counts."""
    pytester.makepyfile(TIMERS)
    pytester.runpytest_inprocess("-p", "no:randomly", "--contract-card=card")
    folder = pytester.path / "card"
    card = json.loads((folder / "conformance.json").read_text(encoding="utf-8"))
    entry = card["certificates"]["TestTimers"]
    assert card["suite"] == metadata.version("workflow-adaptertest")
    assert card["core"] == metadata.version("workflow-core")
    assert entry["port"] == "timeout store"
    assert entry["adapter"].endswith(".Late")
    assert entry["backend"] == "late | by one"
    assert entry["known_failures"] == {CASE: "the first one is late"}
    assert entry["verdict"] == "FAILED", "it is late in other cases too"
    (counts,) = entry["counts"].values()
    assert counts["failed"] == len(entry["failed"]) > 1
    assert counts["known failure"] == 1
    assert counts["not applicable"] == sum(entry["not_applicable"].values())
    assert entry["not_run"] == []
    for timing in entry["timings"].values():
        assert 1 < timing["calls"] <= 200
        assert 0 < timing["p50_us"] <= timing["p99_us"]
    page = (folder / "conformance.md").read_text(encoding="utf-8")
    assert "- back end: late \\| by one" in page, "a bar would end the cell"
    assert f"- known failure: `{CASE}`: the first one is late" in page
    assert f"- FAILED: `{entry['failed'][0]}`" in page


def test_card_is_incomplete_when_a_part_was_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TIMERS)
    pytester.runpytest_inprocess("-p", "no:randomly", "--contract-card=card", "-k", ASKS)
    text = (pytester.path / "card" / "conformance.json").read_text(encoding="utf-8")
    entry = json.loads(text)["certificates"]["TestTimers"]
    assert entry["verdict"] == "INCOMPLETE"
    assert CASE in entry["not_run"]


def test_calls_are_made_once_and_nothing_is_written_when_no_card_is_asked_for(
    pytester: pytest.Pytester,
) -> None:
    """Seen to fail when the calls are always measured: a case would cost a second."""
    code = """
    class Counting(MemoryTimeoutStore):
        created = 0
        def create_many(self, timeouts):
            Counting.created += 1
            assert Counting.created <= 2
            return super().create_many(timeouts)

    class TestCounting(TestTimers):
        known_failures = {}
        def adapter(self, env):
            return Counting(MemoryDatabase(env.clock))
    """
    pytester.makepyfile(TIMERS + code)
    result = pytester.runpytest_inprocess("-p", "no:randomly", "-k", f"TestCounting and {ASKS}")
    result.assert_outcomes(passed=1)
    assert [*Path(pytester.path).rglob("conformance*")] == []
