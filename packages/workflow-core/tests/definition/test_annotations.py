"""What a body may answer, read from its return annotation. Nothing here postpones annotations."""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Annotated, Any, Literal, Optional, ParamSpec, TypeVar, Union

import pytest
from typing_extensions import TypeAliasType
from workflow_core.definition import Cancel, Pause, Repeat, Run, Skip, Workflow
from workflow_core.errors import DefinitionError

PLACE = f"{__name__.replace('.', '/')}.py"


class Status(IntEnum):
    A = 1
    B = 2
    C = 3
    D = 4


class Other(IntEnum):
    B = 2


StatusRun = Run[dict[str, int], Status]
Next = Literal[Status.B, Status.C]
Later = TypeAliasType("Later", "Literal[Status.C] | Repeat")
NextOrLater = TypeAliasType("NextOrLater", Union[Next, Later])  # noqa: UP007 - the old spelling
loosely: Any = TypeAliasType  # no checker is to look into the texts behind these
Lost = loosely("Lost", "Literal[Statuss.C]")
P = ParamSpec("P")
R = TypeVar("R")


@pytest.fixture
def flow() -> Any:
    """Typed as Any: most of what is registered here is what a type checker would refuse."""
    return Workflow("flow", dict[str, int], Status, ends=(Status.D,))


def read(flow: Any, body: object) -> tuple[set[Status], set[type]]:
    flow.step(Status.A)(body)
    step = flow.steps[1]
    return {Status(target) for target in step.targets}, set(step.directives)


def one(run: StatusRun) -> Literal[Status.B]: ...  # type: ignore[empty-body]
def two(run: StatusRun) -> Literal[Status.B, Status.C]: ...  # type: ignore[empty-body]
def nested(run: StatusRun) -> Literal[Next, Status.D]: ...  # type: ignore[empty-body]
def alias(run: StatusRun) -> Next: ...  # type: ignore[empty-body]
def bar(run: StatusRun) -> Literal[Status.B] | Pause | Cancel: ...  # type: ignore[empty-body]
def union(run: StatusRun) -> Union[Next, Skip]: ...  # type: ignore[empty-body] # noqa: UP007
def annotated(run: StatusRun) -> Annotated[Next, "why"] | Repeat: ...  # type: ignore[empty-body]
def text(run: StatusRun) -> "Literal[Status.B] | Pause": ...  # type: ignore[empty-body]
def new_alias(run: StatusRun) -> Later: ...  # type: ignore[empty-body]
def alias_of_alias(run: StatusRun) -> NextOrLater: ...  # type: ignore[empty-body]
def awaitable(run: StatusRun) -> Awaitable[Literal[Status.B]]: ...  # type: ignore[empty-body]
def coroutine(run: StatusRun) -> Coroutine[Any, Any, Next | Pause]: ...  # type: ignore[empty-body]
def directives_only(run: StatusRun) -> Pause | Repeat: ...  # type: ignore[empty-body]
async def asynchronous(run: StatusRun) -> Next | Cancel: ...  # type: ignore[empty-body]


def answering(name: str, annotation: object) -> Any:
    """A body whose return annotation no checker sees."""

    def body(run: StatusRun) -> None: ...

    body.__name__ = name
    body.__annotations__["return"] = annotation
    return body


quoted_twice = answering("quoted_twice", "Union['Next', 'Pause']")


@pytest.mark.parametrize(
    ("body", "targets", "directives"),
    [
        (one, {Status.B}, set()),
        (two, {Status.B, Status.C}, set()),
        (nested, {Status.B, Status.C, Status.D}, set()),
        (alias, {Status.B, Status.C}, set()),
        (bar, {Status.B}, {Pause, Cancel}),
        (union, {Status.B, Status.C}, {Skip}),
        (annotated, {Status.B, Status.C}, {Repeat}),
        (text, {Status.B}, {Pause}),
        (quoted_twice, {Status.B, Status.C}, {Pause}),
        (new_alias, {Status.C}, {Repeat}),
        (alias_of_alias, {Status.B, Status.C}, {Repeat}),
        (awaitable, {Status.B}, set()),
        (coroutine, {Status.B, Status.C}, {Pause}),
        (directives_only, set(), {Pause, Repeat}),
        (asynchronous, {Status.B, Status.C}, {Cancel}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_step_reads_all_targets_when_the_annotation_names_them(
    flow: Any, body: object, targets: set[Status], directives: set[type]
) -> None:
    assert read(flow, body) == (targets, directives)


# -- what stands between the decorator and the function


def wrapping(body: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(body)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return body(*args, **kwargs)

    return wrapper


def with_more(more: int, run: StatusRun) -> Next: ...  # type: ignore[empty-body]


class Bodies:
    def method(self, run: StatusRun) -> Next: ...  # type: ignore[empty-body]

    async def asynchronous(self, run: StatusRun) -> Next: ...  # type: ignore[empty-body]

    def __call__(self, run: StatusRun) -> Next: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (wrapping(alias), "alias"),
        (functools.partial(with_more, 3), "with_more"),
        (functools.partial(wrapping(functools.partial(with_more, 3))), "wrapper"),
        (Bodies().method, "method"),
        (Bodies(), "Bodies"),
    ],
    ids=["wraps", "partial", "partial of wraps of partial", "bound method", "callable object"],
)
def test_step_reads_the_function_underneath_when_it_is_wrapped(
    flow: Any, body: object, name: str
) -> None:
    assert read(flow, body) == ({Status.B, Status.C}, set())
    assert flow.steps[1].name == name
    assert flow.steps[1].body is body
    assert flow.steps[1].where.startswith(f"{PLACE}:")


@pytest.mark.parametrize(
    "body", [asynchronous, wrapping(asynchronous), Bodies().asynchronous], ids=repr
)
def test_step_is_async_when_the_function_underneath_is(flow: Any, body: object) -> None:
    read(flow, body)
    assert flow.steps[1].is_async
    assert not Workflow("another", dict[str, int], Status, ends=()).steps


def test_step_is_not_async_when_the_function_is_plain(flow: Any) -> None:
    read(flow, alias)
    assert not flow.steps[1].is_async


def test_decorated_step_stays_the_function_itself_when_registered(flow: Any) -> None:
    assert flow.step(Status.A)(alias) is alias


# -- refusals


def bare(run: StatusRun) -> Status: ...  # type: ignore[empty-body]
def bare_among_others(run: StatusRun) -> Status | Pause: ...  # type: ignore[empty-body]
def none(run: StatusRun) -> None: ...
def optional(run: StatusRun) -> Optional[Next]: ...  # noqa: UP045
def foreign(run: StatusRun) -> Literal[Other.B]: ...  # type: ignore[empty-body]
def foreign_too(run: StatusRun) -> Literal[Status.B, Other.B]: ...  # type: ignore[empty-body]
def foreign_enum(run: StatusRun) -> Other: ...  # type: ignore[empty-body]
def number(run: StatusRun) -> Literal[2]: ...  # type: ignore[empty-body]
def unknown_number(run: StatusRun) -> Literal[9]: ...  # type: ignore[empty-body]
def word(run: StatusRun) -> Literal["b"]: ...  # type: ignore[empty-body]
def any_int(run: StatusRun) -> int: ...  # type: ignore[empty-body]
def any_text(run: StatusRun) -> str: ...  # type: ignore[empty-body]
def anything(run: StatusRun) -> Any: ...
def generic(run: StatusRun) -> list[Literal[Status.B]]: ...  # type: ignore[empty-body]
def not_annotated(run): ...  # type: ignore[no-untyped-def]


lost_alias = answering("lost_alias", Lost)
misspelt_name = answering("misspelt_name", "Literal[Statu.B]")
misspelt_member = answering("misspelt_member", "Literal[Status.BB]")
no_python = answering("no_python", "Literal[Status.B")


def generator(run: StatusRun) -> Literal[Status.B]:  # type: ignore[misc]
    yield Status.B


REFUSED = [
    (bare, '"-> Status" would allow every status: name them', "-> Literal[Status.D]"),
    (bare_among_others, '"-> Status" would allow every status', "Name what it answers"),
    (none, "it may answer None", "Answer Skip() to leave the run where it is"),
    (optional, "it may answer None", "Answer Skip()"),
    (foreign, "Other.B is none of this workflow's Status", "Literal["),
    (foreign_too, "Other.B is none of this workflow's Status", "Literal["),
    (foreign_enum, "it answers Other, which is neither a Status nor Pause", ""),
    (number, "it answers the number 2, which is no Status", "Did you mean Status.B?"),
    (unknown_number, "it answers the number 9, which is no Status", ""),
    (word, "it answers the text 'b', which is no Status", "Did you mean Status.B?"),
    (any_int, "it answers int, which is neither a Status nor Pause, Cancel, Skip or Repeat", ""),
    (any_text, "it answers str, which is neither a Status nor", ""),
    (anything, "Any, which is neither a Status nor", ""),
    (generic, "which is neither a Status nor", ""),
    (lost_alias, "cannot read", "Did you mean 'Status'?"),
    (misspelt_name, "no name 'Statu' here", "Did you mean 'Status'?"),
    (misspelt_member, 'cannot read "Literal[Status.BB]"', "Did you mean Status.B?"),
    (no_python, 'cannot read "Literal[Status.B": SyntaxError', ""),
    (not_annotated, "it has no return annotation", "-> Literal[Status.D]"),
    (generator, "is a generator", "A body answers once, with return"),
]


@pytest.mark.parametrize(
    ("body", "problem", "hint"), REFUSED, ids=[body.__name__ for body, _, _ in REFUSED]
)
def test_step_says_what_is_wrong_when_the_annotation_does_not_name_statuses(
    flow: Any, body: Any, problem: str, hint: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        flow.step(Status.A)(body)
    line = body.__code__.co_firstlineno
    told = f"flow.step(Status.A), {body.__name__} ({PLACE}:{line}): "
    assert str(refused.value).startswith(told)
    assert problem in refused.value.message
    assert hint in str(refused.value)
    assert not flow.steps


def test_refusal_reads_as_a_whole_when_a_name_is_misspelt(flow: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        flow.step(Status.A)(misspelt_name)
    line = misspelt_name.__code__.co_firstlineno
    assert str(refused.value) == (
        f"flow.step(Status.A), misspelt_name ({PLACE}:{line}): cannot read"
        " \"Literal[Statu.B]\": no name 'Statu' here. Did you mean 'Status'?"
        ' If it is imported under "if TYPE_CHECKING", import it for real, or register it with'
        " flow.add_step(Status.A, misspelt_name, to=[…])"
    )
    assert isinstance(refused.value.__cause__, NameError)


# -- parameters


def takes_nothing() -> Next: ...  # type: ignore[empty-body]
def takes_two(run: StatusRun, more: str) -> Next: ...  # type: ignore[empty-body]
def needs_keyword(run: StatusRun, *, more: str) -> Next: ...  # type: ignore[empty-body]
def has_default(run: StatusRun, more: str = "") -> Next: ...  # type: ignore[empty-body]
def takes_any(*args: StatusRun) -> Next: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("body", [takes_nothing, takes_two, needs_keyword])
def test_step_is_refused_when_the_run_alone_does_not_fit_it(flow: Any, body: Any) -> None:
    with pytest.raises(DefinitionError, match="cannot be called with the run alone"):
        flow.step(Status.A)(body)


@pytest.mark.parametrize("body", [has_default, takes_any])
def test_step_is_taken_when_the_run_alone_fits_it(flow: Any, body: Any) -> None:
    assert read(flow, body) == ({Status.B, Status.C}, set())


@pytest.mark.parametrize("body", [int, print, "text"], ids=["class", "builtin", "text"])
def test_step_is_refused_when_it_is_no_function_of_the_user(flow: Any, body: Any) -> None:
    with pytest.raises(DefinitionError):
        flow.step(Status.A)(body)


# -- places


@pytest.mark.parametrize(
    ("module", "file", "place"),
    [
        ("shop.steps", "/srv/ann/shop/steps.py", "shop/steps.py:3"),
        ("shop", "/srv/ann/shop/__init__.py", "shop/__init__.py:3"),
        ("__main__", "/srv/ann/orders.py", "orders.py:3"),
    ],
)
def test_step_tells_its_file_as_its_module_is_named_when_folders_lie_above(
    flow: Any, module: str, file: str, place: str
) -> None:
    names: dict[str, Any] = {"__name__": module, "Next": Next}
    exec(compile("\n\ndef body(run) -> Next: ...", file, "exec"), names)
    flow.step(Status.A)(names["body"])
    assert flow.steps[1].where == place
