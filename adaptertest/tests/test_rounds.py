"""Races are run many times under stress; a failed case tells its seed and how to run it alone."""

import re

import pytest

pytest_plugins = ["pytester"]

RACE = "test_each_timer_is_closed_by_one_when_pollers_race"
TIMERS = """
    import os
    from workflow_adaptertest import Env, TimeoutStoreContract
    from workflow_core.memory import MemoryDatabase, MemoryTimeoutStore

    class TestTimers(TimeoutStoreContract):
        def adapter(self, env):
            print("seeded", env.seed, env.random.random())
            wrong = os.environ.get("FAILS_AT") in {"any", str(env.seed)}
            assert not wrong, "on purpose"
            return MemoryTimeoutStore(env.shared("database", lambda: MemoryDatabase(env.clock)))
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(TIMERS)
    return pytester.runpytest_inprocess("-p", "no:randomly", "-k", RACE, "-s", *arguments)


def test_race_is_run_once_when_nothing_is_asked_for(pytester: pytest.Pytester) -> None:
    run(pytester).assert_outcomes(passed=1)


def test_race_is_run_many_times_with_other_seeds_under_stress(pytester: pytest.Pytester) -> None:
    """Seen to fail when each round has the same seed."""
    result = run(pytester, "--contract=stress", "--contract-seed=100")
    result.assert_outcomes(passed=25)
    seeds = set(re.findall(r"seeded (\d+) ", result.stdout.str()))
    assert seeds == {str(100 + number) for number in range(25)}
    result.stdout.fnmatch_lines(["TestTimers (timeout store): INCOMPLETE: 25 passed, *"])


def test_case_is_not_a_race_when_nothing_in_it_races(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TIMERS)
    case = "test_timer_is_due_at_once_when_it_has_no_delay"
    result = pytester.runpytest_inprocess("-p", "no:randomly", "--contract=stress", "-k", case)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("options", [[], ["--contract=stress"]], ids=["fast", "stress"])
def test_failed_case_tells_how_to_run_it_alone(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """What it tells is run, and fails again: seen to fail when the round is left out."""
    monkeypatch.setenv("FAILS_AT", "109" if options else "any")
    result = run(pytester, "--contract-seed=100", *options)
    told = re.findall(r"seed (\d+): python -m pytest (.*)", result.stdout.str())
    ((seed, command),) = told
    assert seed == ("109" if options else "100")
    words = [word.strip('"') for word in command.split()]
    alone = pytester.runpytest_inprocess("-p", "no:randomly", *words)
    assert sum(alone.parseoutcomes().get(kind, 0) for kind in ("failed", "errors")) == 1
    assert f"seed {seed}: " in alone.stdout.str()
