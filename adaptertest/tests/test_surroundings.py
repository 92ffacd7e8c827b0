"""What cases stand on: env, threads, refusals."""

from datetime import timedelta
from pathlib import Path
from threading import Event as Signal

import pytest
from workflow_adaptertest import Env
from workflow_adaptertest.samples import refuses
from workflow_adaptertest.threads import Background, at_once
from workflow_core.testing import FakeClock

SOON = timedelta(milliseconds=10)
PATIENCE = timedelta(seconds=30)


def test_envs_are_apart_when_there_are_several(tmp_path: Path) -> None:
    with Env(folder=tmp_path) as one, Env(folder=tmp_path) as two:
        names = {one.namespace, two.namespace, one.elsewhere().namespace}
        assert len(names) == 3
        assert all(name.isalnum() and name[0].isalpha() for name in names)
        assert one.shared("key", object) is one.shared("key", object)
        assert one.shared("key", object) is not two.shared("key", object)
        assert one.elsewhere().folder != one.folder


def test_instances_are_new_when_asked_for(tmp_path: Path) -> None:
    with Env(folder=tmp_path) as env:
        names = [env.new_instance(), env.new_instance(), env.context().instance]
        assert len(set(names)) == 3
        context = env.context()
        assert (context.namespace, context.clock) == (env.namespace, env.clock)


def test_contexts_are_closed_when_the_env_is_left(tmp_path: Path) -> None:
    closed = Signal()

    class Shared:
        def __enter__(self) -> None: ...

        def __exit__(self, *failure: object) -> None:
            closed.set()

    with Env(folder=tmp_path) as env:
        env.context().shared("key", Shared)
        assert not closed.is_set()
    assert closed.is_set()


def test_ticks_pass_by_the_fake_clock_when_there_is_one(tmp_path: Path) -> None:
    with Env(folder=tmp_path) as env:
        assert isinstance(env.clock, FakeClock)
        before = env.clock.now()
        env.advance(1.5)
        assert env.clock.now() - before == 1.5 * env.tick
        assert before.microsecond % 1000, "so that lost microseconds are seen"


def test_env_has_no_clock_when_the_adapter_goes_by_its_servers(tmp_path: Path) -> None:
    with Env(folder=tmp_path, fake_clock=False) as env:
        assert env.clock is None
        assert env.context().clock is None
        assert env.elsewhere().clock is None
        env.advance(0)  # nothing to wait for


def test_calls_are_answered_in_order_when_made_at_once() -> None:
    def fail() -> int:
        raise ValueError("no")

    first, second, third = at_once(
        [lambda: 1, fail, lambda: 3], doing="counting", patience=PATIENCE
    )
    assert (first, third) == (1, 3)
    assert isinstance(second, ValueError)


def test_calls_are_under_way_together_when_made_at_once() -> None:
    """Each waits for the other: in turns they would never end."""
    here, there = Signal(), Signal()

    def meet(mine: Signal, theirs: Signal) -> bool:
        mine.set()
        return theirs.wait(PATIENCE.total_seconds())

    calls = [lambda: meet(here, there), lambda: meet(there, here)]
    assert at_once(calls, doing="meeting", patience=PATIENCE) == [True, True]


def test_call_is_a_failure_when_it_hangs() -> None:
    never = Signal()
    waiting = Background(never.wait, doing="waiting for ever")
    with pytest.raises(AssertionError, match="waiting for ever: no end after"):
        waiting.result(SOON)
    never.set()
    assert waiting.result(PATIENCE) is True


def test_refusal_is_an_assertion_when_nothing_is_raised() -> None:
    missing = refuses(KeyError, "it is missing")
    with pytest.raises(AssertionError, match="no KeyError was raised: it is missing"), missing:
        pass


def test_refusal_passes_on_when_another_error_is_raised() -> None:
    with pytest.raises(ValueError, match="other"), refuses(KeyError, "it is missing"):
        raise ValueError("other")


def test_refusal_keeps_the_error_when_it_is_the_expected_one() -> None:
    with refuses(KeyError, "it is missing") as refusal:
        raise KeyError("name")
    assert refusal.error.args == ("name",)
