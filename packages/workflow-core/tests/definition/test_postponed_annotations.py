"""The same with postponed annotations: each is a text, to be evaluated where its names are."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from workflow_core.definition import Pause, Run, Workflow
from workflow_core.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Literal, TypeAlias

    from elsewhere import Answers, Missing  # type: ignore[import-not-found]


class Status(IntEnum):
    A = 1
    B = 2
    C = 3


Next: TypeAlias = "Literal[Status.B] | Pause"


def workflow() -> Workflow[dict[str, int], Status]:
    return Workflow("flow", dict[str, int], Status, ends=(Status.C,))


def targets(flow: Workflow[Any, Any], status: int = 1) -> set[int]:
    return set(flow.steps[status].targets)


def test_step_reads_our_own_words_when_they_are_imported_for_checkers_alone() -> None:
    flow = workflow()

    @flow.step(Status.A)
    def literal(run: Missing) -> Literal[Status.B, Status.C]:
        return Status.B

    @flow.step(Status.B)
    def coroutine(run: Missing) -> Coroutine[Any, Any, Literal[Status.C]]:
        raise NotImplementedError

    assert targets(flow) == {2, 3}
    assert targets(flow, 2) == {3}


def test_step_reads_an_alias_when_it_is_itself_a_text() -> None:
    flow = workflow()

    @flow.step(Status.A)
    def aliased(run: Run[dict[str, int], Status]) -> Next:
        return Pause("")

    assert targets(flow) == {2}
    assert flow.steps[1].directives == {Pause}


def test_step_finds_the_enum_when_it_is_local_to_the_function_that_declares() -> None:
    """Seen to fail without the locals of the frame."""

    class Local(IntEnum):
        X = 1
        Y = 2

    Alias = Literal_of(Local.Y)  # noqa: N806 - a type
    flow = Workflow("local", dict[str, int], Local, ends=(Local.Y,))
    LocalRun = Run[dict[str, int], Local]  # noqa: N806 - a type

    @flow.step(Local.X)
    def literal(run: LocalRun) -> Literal[Local.Y]:
        return Local.Y

    again = Workflow("again", dict[str, int], Local, ends=(Local.Y,))

    @again.step(Local.X)
    def aliased(run: LocalRun) -> Alias:  # type: ignore[valid-type]
        return Local.Y

    assert targets(flow) == targets(again) == {2}


def Literal_of(value: object) -> Any:  # noqa: N802 - makes a type
    import typing

    return typing.Literal[value]


def test_step_finds_the_enum_when_it_is_in_the_closure_alone() -> None:
    """Registered far from where it was defined, so the frame's locals do not help."""

    class Local(IntEnum):
        X = 1
        Y = 2

    def body(run: Run[dict[str, int], Local]) -> Literal[Local.Y]:
        return Local.Y

    flow = Workflow("local", dict[str, int], Local, ends=(Local.Y,))
    register_elsewhere(flow, Local.X, body)
    assert targets(flow) == {2}


def register_elsewhere(flow: Any, status: IntEnum, body: Callable[..., Any]) -> None:
    flow.step(status)(body)


def test_step_prefers_the_names_of_its_own_module_when_it_is_registered_in_another() -> None:
    """Seen to fail where the frame's locals came first for every function."""
    other: dict[str, Any] = {"__name__": "other", "Next": Literal_of(Status.C)}
    exec("from __future__ import annotations\ndef body(run) -> Next: ...", other)
    Next = Literal_of(Status.B)  # noqa: N806, F841 - would be found by looking here
    flow: Any = workflow()
    flow.step(Status.A)(other["body"])
    assert targets(flow) == {3}


def test_callback_reads_its_payload_when_the_run_is_imported_for_checkers_alone() -> None:
    flow = workflow()

    @flow.callback(Status.A)
    def paid(run: Missing, receipt: str | None) -> Literal[Status.B]:
        return Status.B

    assert paid.payload_type == str | None


def test_step_hints_at_type_checking_when_the_alias_is_imported_for_checkers_alone() -> None:
    flow: Any = workflow()

    def aliased(run: Run[dict[str, int], Status]) -> Answers:
        raise NotImplementedError

    with pytest.raises(DefinitionError) as refused:
        flow.step(Status.A)(aliased)
    assert refused.value.hint.endswith(
        'If it is imported under "if TYPE_CHECKING", import it for real, or register it with'
        " flow.add_step(Status.A, aliased, to=[…])"
    )


def test_callback_hints_at_type_checking_when_the_payload_is_imported_for_checkers_alone() -> None:
    flow: Any = workflow()

    def paid(run: object, receipt: Missing) -> Literal[Status.B]:
        return Status.B

    with pytest.raises(DefinitionError, match="no name 'Missing' here") as refused:
        flow.callback(Status.A)(paid)
    assert "flow.add_callback(Status.A, paid, to=[…])" in refused.value.hint
