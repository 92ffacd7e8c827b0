"""Pools: statuses that processes of their own work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import pytest
from workflow_core.definition import Repeat, Retry, Run, RunView, Workflow
from workflow_core.engine import Cause, Engine
from workflow_core.errors import InputError, ServingError
from workflow_core.model import RunState, names

if TYPE_CHECKING:
    from tests.engine.conftest import Cluster


class Status(IntEnum):
    CREATED = 1
    RENDERED = 2
    WAITING = 3
    DONE = 4


class Other(IntEnum):
    CREATED = 1


@dataclass
class Film:
    fails: int = 0
    trail: str = ""


FilmRun = Run[Film, Status]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SLOW = [Status.RENDERED]
REST = [Status.CREATED, Status.WAITING, Status.DONE]


class Studio:
    def __init__(self) -> None:
        self.now = ""
        """The process that is being polled, for bodies to note."""
        self.did: list[tuple[str, str]] = []
        self.told: list[str] = []
        films = self.films = Workflow(
            "films", Film, Status, ends=(Status.DONE,), retry=Retry(first=SECOND, pause_after=2)
        )

        @films.step(Status.CREATED)
        def begin(run: FilmRun) -> Literal[Status.RENDERED]:
            self._note("begin")
            return Status.RENDERED

        @films.step(Status.RENDERED)
        def render(run: FilmRun) -> Literal[Status.WAITING] | Repeat:
            self._note("render")
            if run.data.fails > 1 or (run.data.fails and run.attempt == 1):
                raise ValueError("out of colour")
            return Status.WAITING

        @films.timeout(Status.WAITING, after=MINUTE)
        def release(run: FilmRun) -> Literal[Status.DONE]:
            self._note("release")
            return Status.DONE

        @films.on_complete()
        def tell(run: RunView[Film, Status]) -> None:
            self.told.append(run.foreign_id)

    def _note(self, what: str) -> None:
        self.did.append((self.now, what))

    def watch(self, engine: Engine, name: str) -> None:
        """Note who does what."""
        for process in engine._core.crew.processes:
            poll = process.poll

            def named(wait: timedelta, poll: Callable[[timedelta], bool] = poll) -> bool:
                self.now = name
                return poll(wait)

            process.poll = named  # type: ignore[method-assign]


@pytest.fixture
def studio() -> Studio:
    return Studio()


def serve_both(cluster: Cluster, studio: Studio) -> Engine:
    """The first engine works on all but what the second does; answers the second."""
    other = cluster.join("renderer").engine
    cluster.engine.serving(studio.films, statuses=REST).start()
    other.serving(studio.films, pool="slow", statuses=SLOW).start()
    studio.watch(cluster.engine, "main")
    studio.watch(other, "slow")
    return other


def test_each_pool_runs_the_steps_of_its_statuses_and_main_all_else(
    cluster: Cluster, studio: Studio
) -> None:
    """Seen to fail when every lane had all steps: bodies ran in both."""
    serve_both(cluster, studio)
    client = cluster.client().engine
    ids = [client.trigger(studio.films, f"film {n}", Film()) for n in range(20)]
    cluster.driver.advance(2 * MINUTE)
    assert {cluster.record(run_id).state for run_id in ids} == {RunState.COMPLETED}
    assert sorted(set(studio.did)) == [("main", "begin"), ("main", "release"), ("slow", "render")]
    assert len(studio.did) == 60
    assert len(studio.told) == 20


def test_pools_hold_roles_of_their_own(cluster: Cluster, studio: Studio) -> None:
    """Seen to fail when one role stood for the reconcilers of all pools."""
    other = serve_both(cluster, studio)
    cluster.driver.advance(30 * SECOND)
    assert cluster.engine._serving is not None
    assert other._serving is not None
    mine, others = set(cluster.engine._serving.roles), set(other._serving.roles)
    assert not mine & others
    assert {names.shard_role("films", "slow", i, 16) for i in range(16)} <= others
    assert names.reconciler_role("films", "slow") in others
    assert names.timers_role("films") in mine


def test_run_that_fails_is_tried_again_and_resumed_in_its_pool(
    cluster: Cluster, studio: Studio
) -> None:
    serve_both(cluster, studio)
    client = cluster.client().engine
    once = client.trigger(studio.films, "once", Film(fails=1))
    never = client.trigger(studio.films, "never", Film(fails=9))
    cluster.driver.advance(3 * MINUTE)
    assert cluster.record(once).state is RunState.COMPLETED
    assert cluster.record(never).state is RunState.PAUSED
    before = len(studio.did)
    cluster.driver.advance(timedelta(hours=1, minutes=1))
    assert studio.did[before:] == [("slow", "render")] * 2
    assert cluster.record(never).auto_resumes == 1


def test_status_that_moves_to_another_pool_takes_its_retries_along(
    cluster: Cluster, studio: Studio
) -> None:
    """Seen to fail when a lane dropped what was meant for another pool: ten minutes' silence."""
    cluster.driver.serve(studio.films)
    run_id = cluster.client().engine.trigger(studio.films, "film", Film(fails=1))
    cluster.driver.run()
    assert cluster.record(run_id).attempts == 1
    assert cluster.engine._serving is not None
    cluster.engine._serving.stop()
    other = cluster.join("renderer").engine
    other.serving(studio.films, pool="slow", statuses=SLOW).start()
    cluster.driver.advance(5 * SECOND)
    assert cluster.record(run_id).status == Status.WAITING


def test_reconciler_of_a_pool_nudges_its_own_runs(cluster: Cluster, studio: Studio) -> None:
    serve_both(cluster, studio)
    cluster.driver.run()
    cluster.streamer.loses = lambda event: event.status == Status.RENDERED
    run_id = cluster.engine.trigger(studio.films, "film", Film())
    cluster.driver.run()
    assert cluster.record(run_id).status == Status.RENDERED
    cluster.streamer.loses = lambda event: False
    cluster.driver.advance(timedelta(minutes=20))
    assert ("slow", "render") in studio.did
    assert cluster.record(run_id).state is RunState.COMPLETED


@pytest.mark.parametrize(
    ("pool", "statuses", "problem"),
    [
        ("slow", None, "pool 'slow' has no statuses"),
        ("slow", [], "nothing to do for workflow 'films'"),
        ("slow", [Status.DONE], "nothing to do for workflow 'films'"),
        ("slow", [Other.CREATED], "a status of none of the workflows"),
        ("s-low", SLOW, "letters, digits and underscores"),
        ("", SLOW, "letters, digits and underscores"),
    ],
)
def test_pool_that_can_be_none_is_refused(
    joined: Cluster, studio: Studio, pool: str, statuses: list[IntEnum] | None, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        joined.engine.serving(studio.films, pool=pool, statuses=statuses)
    joined.engine.serving(studio.films)  # as if it had not been asked


def test_pools_that_share_a_status_are_told_until_one_gives_it_up(
    cluster: Cluster, studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    """To both, and once in the log. Seen to fail when nobody looked."""
    other = cluster.join("renderer").engine
    cluster.engine.serving(studio.films).start()
    serving = other.serving(studio.films, pool="slow", statuses=SLOW).start()
    cluster.driver.advance(11 * MINUTE)
    for engine in (cluster.engine, other):
        health = engine.health()
        assert health.ready
        (problem,) = [p for p in health.problems if "both run the step at RENDERED" in p]
        assert "leave it out of statuses= in one of them" in problem
    assert sum("both run the step" in line for line in caplog.messages) == 2
    serving.stop()
    cluster.driver.advance(2 * MINUTE)
    assert not any("both run" in p for p in cluster.engine.health().problems)


def test_pools_that_share_nothing_are_not_told(
    cluster: Cluster, studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    serve_both(cluster, studio)
    cluster.driver.advance(11 * MINUTE)
    assert not any("both run the step" in line for line in caplog.messages)


def test_why_tells_that_a_run_is_at_a_status_of_no_pool(cluster: Cluster, studio: Studio) -> None:
    """Seen to fail when only roles were asked for: main's were all held, and it was "in the
    stream"."""
    cluster.engine.serving(studio.films, statuses=REST).start()
    run_id = cluster.engine.trigger(studio.films, "film", Film())
    cluster.driver.advance(MINUTE)
    first, *_ = cluster.client().engine.why(run_id, studio.films).reasons
    assert first.cause is Cause.NOT_SERVED
    assert first.detail == (
        "No process works on RENDERED: the pools of 'films' that are served ('main') have other "
        "statuses"
    )
    assert "Serve a pool that has RENDERED" in first.todo


def test_why_finds_the_pool_of_a_status_and_tells_when_it_was_lost(
    cluster: Cluster, studio: Studio
) -> None:
    """Seen to fail when `why` looked at the main pool, unless told otherwise, and when lost
    workers counted as live."""
    other = serve_both(cluster, studio)
    cluster.driver.advance(MINUTE)
    workers = {each.pool: each for each in cluster.engine.workers()}
    assert workers["slow"].runs("films", Status.RENDERED)
    assert workers["main"].runs("films", Status.RENDERED) is False
    cluster.kill(other, "renderer")
    run_id = cluster.engine.trigger(studio.films, "film", Film())
    cluster.driver.advance(MINUTE)  # its leases are over, and it still counts as live
    detail = cluster.engine.why(run_id).reasons[0].detail
    assert detail == "No process serves 'films' in pool 'slow': nobody holds any of its roles"
    cluster.driver.advance(5 * MINUTE)
    first = cluster.engine.why(run_id).reasons[0]
    assert first.cause is Cause.NOT_SERVED
    assert "the pool 'slow' had it, and was last heard of at" in first.detail
    assert "Start a process of the pool 'slow' again" in first.todo


def test_why_claims_nothing_of_pools_where_a_worker_does_not_say(
    cluster: Cluster, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of older code, that tells no statuses. Seen to fail when not knowing counted as no."""
    cluster.engine.serving(studio.films, statuses=REST).start()
    run_id = cluster.engine.trigger(studio.films, "film", Film())
    cluster.driver.advance(MINUTE)
    silent = [each.replace(statuses=None) for each in cluster.engine.workers()]
    monkeypatch.setattr(cluster.engine, "workers", lambda: silent)
    told = [reason.detail for reason in cluster.engine.why(run_id).reasons]
    assert not any("No process works on" in detail for detail in told)


def test_second_pool_in_one_engine_is_refused(joined: Cluster, studio: Studio) -> None:
    joined.engine.serving(studio.films).start()
    with pytest.raises(ServingError, match="each pool an engine of its own"):
        joined.engine.serving(studio.films, pool="slow", statuses=SLOW)
