"""The checks that need the whole definition, and where runs begin."""

from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from typing import Any, Literal

import pytest
from workflow_core.definition import Pause, Repeat, Run, Skip, Workflow
from workflow_core.errors import DefinitionError


class Status(IntEnum):
    A = 1
    B = 2
    C = 3
    D = 4
    E = 5


FlowRun = Run[dict[str, int], Status]
SECOND = timedelta(seconds=1)
Edges = dict[Status, list[Status]]
Build = Callable[..., Any]


def body(run: FlowRun) -> Status:
    raise NotImplementedError


def skips(run: FlowRun) -> Literal[Status.B] | Skip:
    raise NotImplementedError


def calls_back(run: FlowRun) -> Literal[Status.B]:
    raise NotImplementedError


@pytest.fixture
def build() -> Build:
    """A workflow with a step at each key that leads to its values."""

    def build(edges: Edges, *, ends: Any = (Status.D,), starts: Any = ()) -> Any:
        flow = Workflow("flow", dict[str, int], Status, ends=ends, starts=starts)
        for status, targets in edges.items():
            flow.add_step(status, body, to=targets)
        return flow

    return build


def problems(flow: Any) -> str:
    with pytest.raises(DefinitionError) as refused:
        flow.check()
    return str(refused.value)


STRAIGHT: Edges = {Status.A: [Status.B], Status.B: [Status.D]}


def test_check_passes_when_every_way_leads_on(build: Build) -> None:
    build(STRAIGHT).check()
    build({Status.A: [Status.A, Status.B, Status.D], Status.B: [Status.A]}).check()


def test_check_passes_when_statuses_of_the_enum_are_not_used(build: Build) -> None:
    build({Status.A: [Status.D]}).check()


def test_check_passes_when_a_workflow_never_ends(build: Build) -> None:
    build({Status.A: [Status.B], Status.B: [Status.A]}, ends=()).check()


def test_check_hints_at_the_import_when_nothing_consumes_a_target(build: Build) -> None:
    told = problems(build({Status.A: [Status.B, Status.D]}))
    assert "body (" in told
    assert "answers B, which nothing consumes and which is no end" in told
    assert told.endswith("Was the module with its step imported?")


def test_check_hints_at_the_import_when_there_is_nothing(build: Build) -> None:
    assert problems(build({})) == (
        "workflow 'flow': it has no steps. Was the module with its steps imported?"
    )


def test_check_names_a_status_when_no_run_gets_to_it(build: Build) -> None:
    told = problems(build({**STRAIGHT, Status.C: [Status.D]}))
    assert "no run gets to C: runs begin at A" in told
    assert "starts=" in told


def test_check_names_an_end_when_no_run_gets_to_it(build: Build) -> None:
    assert "no run gets to the end E: take it out of ends=" in problems(
        build(STRAIGHT, ends=(Status.D, Status.E))
    )


def test_check_names_the_first_alone_when_others_follow_the_unreachable(build: Build) -> None:
    told = problems(build({Status.A: [Status.D], Status.B: [Status.C], Status.C: [Status.D]}))
    assert "no run gets to B" in told
    assert "no run gets to C" not in told


def test_check_names_a_cycle_when_no_run_gets_into_it(build: Build) -> None:
    told = problems(build({Status.A: [Status.D], Status.B: [Status.C], Status.C: [Status.B]}))
    assert told.count("no run gets to") == 1


def test_check_passes_when_a_status_is_one_of_several_starts(build: Build) -> None:
    edges = {**STRAIGHT, Status.C: [Status.D]}
    build(edges, starts=(Status.A, Status.C)).check()


def test_check_refuses_when_nothing_consumes_a_start(build: Build) -> None:
    told = problems(build(STRAIGHT, starts=(Status.A, Status.C)))
    assert "runs are to begin at C, which nothing consumes" in told


def test_check_tells_every_problem_at_once_when_there_are_several(build: Build) -> None:
    told = problems(build({Status.A: [Status.B], Status.C: [Status.D]}, ends=(Status.D, Status.E)))
    assert told.splitlines()[0] == "3 problems in 'flow':"
    assert [line[:2] for line in told.splitlines()[1:]] == ["  ", "  ", "  "]
    assert "B, which nothing consumes" in told
    assert "no run gets to C" in told
    assert "the end E" in told


# -- where runs begin


@pytest.mark.parametrize(
    ("edges", "start"),
    [
        (STRAIGHT, Status.A),
        ({Status.C: [Status.A], Status.A: [Status.D]}, Status.C),
        ({Status.B: [Status.B, Status.A], Status.A: [Status.D]}, Status.B),
        ({Status.C: [Status.B], Status.B: [Status.C]}, Status.B),
    ],
    ids=["first", "nothing leads to it", "only itself leads to it", "all on a cycle"],
)
def test_start_is_the_first_that_no_other_leads_to_when_none_is_named(
    build: Build, edges: Edges, start: Status
) -> None:
    flow = build(edges, ends=())
    assert flow.start is start


def test_start_is_the_first_named_when_several_are(build: Build) -> None:
    flow = build(STRAIGHT, starts=(Status.B, Status.A))
    flow.check()
    assert flow.start is Status.B


# -- Skip


def test_check_refuses_skip_when_nothing_else_moves_the_run_on(build: Build) -> None:
    flow = build({Status.B: [Status.D]})
    flow.step(Status.A)(skips)
    assert "skips (" in problems(flow)
    assert "may answer Skip, but A has no other callback or timer" in problems(flow)


def test_check_passes_skip_when_a_callback_moves_the_run_on(build: Build) -> None:
    flow = build({Status.B: [Status.D]})
    flow.step(Status.A)(skips)
    flow.callback(Status.A)(calls_back)
    flow.check()


def test_check_passes_skip_when_a_timer_moves_the_run_on(build: Build) -> None:
    flow = build({Status.B: [Status.D]})
    flow.step(Status.A)(skips)
    flow.timeout(Status.A, after=SECOND)(calls_back)
    flow.check()


def test_check_refuses_skip_of_a_timer_when_it_is_the_only_way_on(build: Build) -> None:
    """It fires once: the run would stand there for ever."""
    flow = build({Status.B: [Status.D]})
    flow.timeout(Status.A, after=SECOND)(skips)
    assert "may answer Skip" in problems(flow)
    flow.timeout(Status.A, after=2 * SECOND)(calls_back)
    flow.check()


def test_check_passes_skip_of_a_callback_when_it_is_the_only_way_on(build: Build) -> None:
    flow = build({Status.B: [Status.D]})
    flow.callback(Status.A)(skips)
    flow.check()


def test_check_takes_skip_from_an_added_step_when_it_would_strand_the_run(build: Build) -> None:
    flow = build(STRAIGHT)
    flow.callback(Status.B)(calls_back)
    flow.check()
    assert Skip not in flow.steps[1].directives
    assert {Pause, Repeat} < flow.steps[1].directives
    assert Skip in flow.steps[2].directives


# -- freezing


@pytest.mark.parametrize("verb", ["step", "callback", "timeout"])
def test_body_is_refused_when_the_definition_is_frozen(build: Build, verb: str) -> None:
    flow = build(STRAIGHT)
    flow.check()
    options = {"after": SECOND} if verb == "timeout" else {}
    with pytest.raises(DefinitionError, match="in use and cannot be changed"):
        getattr(flow, verb)(Status.C, **options)(calls_back)
    flow.check()
    assert (len(flow.steps), flow.callbacks, flow.timeouts) == (2, (), ())


def test_definition_can_be_mended_when_a_check_has_failed(build: Build) -> None:
    flow = build({Status.A: [Status.B]}, ends=(Status.D,))
    assert "which nothing consumes" in problems(flow)
    flow.add_step(Status.B, body, to=[Status.D])
    flow.check()


def test_steps_cannot_be_changed_when_they_are_read(build: Build) -> None:
    with pytest.raises(TypeError):
        build(STRAIGHT).steps[1] = None
