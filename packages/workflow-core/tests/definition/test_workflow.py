"""What a workflow takes, keeps and refuses, one declaration at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest
from workflow_core.definition import Cancel, Pause, Repeat, Retry, Run, Skip, Workflow
from workflow_core.errors import DefinitionError, PayloadError, UnknownStatusError


class Status(IntEnum):
    CREATED = 1
    PAID = 2
    SHIPPED = 3
    REFUSED = 4


class Other(IntEnum):
    CREATED = 1
    PAID = 2


@dataclass
class Order:
    total: int = 0


OrderRun = Run[Order, Status]
SECOND = timedelta(seconds=1)
MakeWorkflow = Callable[..., Any]


@pytest.fixture
def make() -> MakeWorkflow:
    """A workflow with one thing said otherwise; typed as Any, since most of it is wrong."""
    loosely: Any = Workflow

    def make(name: str = "orders", statuses: Any = Status, **options: Any) -> Any:
        return loosely(name, Order, statuses, **{"ends": (Status.SHIPPED,), **options})

    return make


def to_paid(run: OrderRun) -> Literal[Status.PAID]:
    return Status.PAID


def to_shipped(run: OrderRun) -> Literal[Status.SHIPPED]:
    return Status.SHIPPED


def with_payload(run: OrderRun, receipt: str) -> Literal[Status.PAID]:
    return Status.PAID


# -- the workflow itself


@pytest.mark.parametrize("name", ["", "_reserved", "a" * 256, "a\nb", "a\x00b", "\ud800", None])
def test_workflow_is_refused_when_its_name_cannot_be_used(make: MakeWorkflow, name: Any) -> None:
    with pytest.raises(DefinitionError, match="name"):
        make(name)


@pytest.mark.parametrize("name", ["a", "order processor", "a" * 255, "Bestellung für Ärzte"])
def test_workflow_keeps_its_name_when_it_can_be_used(make: MakeWorkflow, name: str) -> None:
    assert make(name).name == name


class Plain(Enum):
    A = 1


class Zero(IntEnum):
    A = 0


class Large(IntEnum):
    A = 2**31


class Nothing(IntEnum):
    pass


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [
        (Plain, "must be an IntEnum class"),
        (3, "must be an IntEnum class"),
        (Zero, "Zero.A is 0"),
        (Large, "Large.A is 2147483648"),
        (Nothing, "Nothing has no members"),
    ],
)
def test_workflow_is_refused_when_its_statuses_cannot_be_stored(
    make: MakeWorkflow, statuses: Any, problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        make(statuses=statuses, ends=())


@pytest.mark.parametrize("role", ["ends", "starts"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((Other.PAID,), "Other.PAID is no Status"),
        ((Status.PAID, Other.PAID), "Other.PAID is no Status"),
        ((2,), "2 is no Status"),
        (("PAYD",), "'PAYD' is no Status"),
        (Status.PAID, "must be a collection of Status, not Status.PAID"),
        ("PAID", "must be a collection of Status"),
        (7, "must be a collection of Status"),
    ],
    ids=str,
)
def test_workflow_is_refused_when_an_end_or_start_is_of_another_enum(
    make: MakeWorkflow, role: str, given: Any, told: str
) -> None:
    """No type checker finds the first two. Seen to fail with ``in`` in place of the very type."""
    with pytest.raises(DefinitionError, match=f"{role}.*{told}"):
        make(**{role: given})


@pytest.mark.parametrize("option", ["concurrency", "max_data_bytes"])
def test_workflow_is_refused_when_a_limit_is_below_one(make: MakeWorkflow, option: str) -> None:
    with pytest.raises(DefinitionError, match=f"{option} must be 1 or more, not 0"):
        make(**{option: 0})


def test_workflow_hints_at_the_nearest_status_when_a_text_is_given(make: MakeWorkflow) -> None:
    with pytest.raises(DefinitionError) as refused:
        make(ends=("status.payd",))
    assert refused.value.hint == "Did you mean Status.PAID?"


# -- statuses at the edge


def test_status_is_found_when_its_number_is_stored(make: MakeWorkflow) -> None:
    assert make().status(2) is Status.PAID


def test_status_is_unknown_when_newer_code_has_stored_it(make: MakeWorkflow) -> None:
    with pytest.raises(UnknownStatusError, match="no Status has the number 9") as unknown:
        make().status(9)
    assert "CREATED (1), PAID (2)" in unknown.value.hint
    assert unknown.value.workflow == "orders"


@pytest.mark.parametrize(
    ("given", "hint"),
    [(Other.PAID, "There are"), (2, "Status.PAID?"), ("Status.PAYED", "Status.PAID?"), (None, "")],
)
def test_parse_status_refuses_when_it_is_equal_but_not_one_of_them(
    make: MakeWorkflow, given: Any, hint: str
) -> None:
    with pytest.raises(UnknownStatusError) as unknown:
        make().parse_status(given)
    assert hint in unknown.value.hint
    assert make().parse_status(Status.PAID) is Status.PAID


def test_is_end_tells_ends_when_they_were_named(make: MakeWorkflow) -> None:
    assert [status.name for status in Status if make().is_end(status)] == ["SHIPPED"]


# -- steps


def test_step_takes_the_workflows_settings_when_it_has_none_of_its_own(make: MakeWorkflow) -> None:
    retry = Retry(pause_after=3)
    orders = make(retry=retry, concurrency=7)
    orders.step(Status.CREATED)(to_paid)
    orders.step(Status.PAID, retry=Retry(pause_after=9), concurrency=2, lag=SECOND)(to_shipped)
    first, second = orders.steps[1], orders.steps[2]
    assert (first.retry, first.concurrency, first.lag) == (retry, 7, timedelta(0))
    assert first.lag_alert == timedelta(minutes=30)
    assert (second.retry.pause_after, second.concurrency, second.lag) == (9, 2, SECOND)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"concurrency": 0}, "concurrency must be 1 or more"),
        ({"lag": -SECOND}, "lag cannot be negative"),
        ({"lag_alert": timedelta(0)}, "lag_alert must be more than zero"),
    ],
)
def test_step_is_refused_when_a_setting_makes_no_sense(
    make: MakeWorkflow, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        make().step(Status.CREATED, **options)


def test_step_is_refused_when_its_status_has_one(make: MakeWorkflow) -> None:
    orders = make()
    orders.step(Status.CREATED)(to_paid)
    with pytest.raises(DefinitionError, match=r"to_shipped \(.*\) at Status.CREATED: to_paid \("):
        orders.step(Status.CREATED)(to_shipped)
    assert orders.steps[1].body is to_paid


@pytest.mark.parametrize("verb", ["step", "callback", "timeout"])
def test_body_is_refused_when_its_status_is_an_end(make: MakeWorkflow, verb: str) -> None:
    options = {"after": SECOND} if verb == "timeout" else {}
    with pytest.raises(DefinitionError, match="is one of ends="):
        getattr(make(), verb)(Status.SHIPPED, **options)(to_paid)


@pytest.mark.parametrize(
    "status", [Other.CREATED, 1, "CREATED", to_paid], ids=["foreign", "number", "text", "no call"]
)
@pytest.mark.parametrize("verb", ["step", "callback", "timeout"])
def test_decorator_is_refused_when_its_status_is_none_of_the_workflows(
    make: MakeWorkflow, verb: str, status: Any
) -> None:
    options = {"after": SECOND} if verb == "timeout" else {}
    with pytest.raises(DefinitionError, match=rf"{verb}\(…\): .* is no Status"):
        getattr(make(), verb)(status, **options)


def test_retry_then_is_taken_when_the_step_may_answer_it(make: MakeWorkflow) -> None:
    orders = make()
    orders.step(Status.CREATED, retry=Retry(then=Status.PAID))(to_paid)
    assert orders.steps[1].retry.then is Status.PAID


@pytest.mark.parametrize("then", [Status.REFUSED, Other.PAID])
@pytest.mark.parametrize("verb", ["step", "timeout"])
def test_retry_then_is_refused_when_it_is_no_declared_target(
    make: MakeWorkflow, verb: str, then: IntEnum
) -> None:
    options = {"after": SECOND} if verb == "timeout" else {}
    told = f"then={type(then).__name__}.{then.name}"
    with pytest.raises(DefinitionError, match=told):
        getattr(make(), verb)(Status.CREATED, retry=Retry(then=then), **options)(to_paid)
    orders = make(retry=Retry(then=then))
    with pytest.raises(DefinitionError, match=told):
        getattr(orders, verb)(Status.CREATED, **options)(to_paid)


# -- callbacks


def test_callback_knows_its_place_when_it_is_declared(make: MakeWorkflow) -> None:
    orders = make()
    paid = orders.callback(Status.CREATED)(with_payload)
    assert paid.workflow is orders
    assert (paid.status, paid.payload_type) == (Status.CREATED, str)
    assert orders.callbacks == (paid.step,)
    assert "with_payload" in repr(paid)


def test_callback_can_be_called_when_a_unit_test_does(make: MakeWorkflow) -> None:
    orders = make()
    run = Run(data=Order(), status=Status.CREATED)
    assert orders.callback(Status.CREATED)(with_payload)(run, "receipt") is Status.PAID
    assert orders.callback(Status.CREATED)(to_paid)(run) is Status.PAID
    assert len(orders.callbacks) == 2


def test_callback_takes_the_run_alone_when_its_body_does(make: MakeWorkflow) -> None:
    assert make().callback(Status.CREATED)(to_paid).payload_type is None


def test_callback_keeps_the_functions_name_and_words_when_it_replaces_it(
    make: MakeWorkflow,
) -> None:
    paid = make().callback(Status.CREATED)(with_payload)
    assert (paid.__name__, paid.__wrapped__) == ("with_payload", with_payload)


def test_one_function_serves_two_statuses_when_it_is_declared_for_both(make: MakeWorkflow) -> None:
    orders = make()
    twice = orders.callback(Status.PAID)(orders.callback(Status.CREATED)(with_payload))
    assert [callback.status for callback in orders.callbacks] == [1, 2]
    assert twice(Run(data=Order(), status=Status.PAID), "receipt") is Status.PAID


def three(run: OrderRun, receipt: str, more: str) -> Literal[Status.PAID]:
    return Status.PAID


def payload_not_annotated(run: OrderRun, receipt) -> Literal[Status.PAID]:  # type: ignore[no-untyped-def]
    return Status.PAID


def payload_is_none(run: OrderRun, receipt: None) -> Literal[Status.PAID]:
    return Status.PAID


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (three, "cannot be called with the run and a payload: missing a required argument: 'more'"),
        (payload_not_annotated, "the type of its payload 'receipt' is not annotated"),
        (payload_is_none, "its payload 'receipt' is always None"),
    ],
)
def test_callback_is_refused_when_its_payload_is_not_declared(
    make: MakeWorkflow, body: Any, problem: str
) -> None:
    orders = make()
    with pytest.raises(DefinitionError, match=problem):
        orders.callback(Status.CREATED)(body)
    assert orders.callbacks == ()


class Receipt(dict[str, str]):
    pass


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        (str, ["", "receipt"], [None, 7, b""]),
        (str | None, ["", None], [7]),
        (float, [1.5, 1], ["1.5"]),
        (list[int], [[], [1]], [["1"], (), None]),
        (Literal["a", "b"], ["a"], ["c"]),
        (Order, [Order()], [{"total": 1}, None]),
        (Receipt, [Receipt()], [{}]),
        (Callable[[int], int], [abs], [3]),
        (Annotated[int, "pieces"], [3], ["3", None]),
        (Any, [1, None, Order()], []),
        (None, [None], [0, ""]),
    ],
    ids=str,
)
def test_callback_checks_its_payload_when_it_comes_from_outside(
    make: MakeWorkflow, wanted: Any, good: list[Any], bad: list[Any]
) -> None:
    callback = make().add_callback(Status.CREATED, with_payload, payload=wanted, to=[Status.PAID])
    for payload in good:
        callback.step.check_payload(payload)
    for payload in bad:
        with pytest.raises(
            PayloadError, match=f"with_payload takes .* got {type(payload).__name__}"
        ):
            callback.step.check_payload(payload)


# -- timers


def test_timer_is_kept_when_it_is_declared(make: MakeWorkflow) -> None:
    def at_noon(run: OrderRun, entered_at: Any) -> None: ...

    orders = make()
    orders.timeout(Status.CREATED, after=SECOND)(to_paid)
    orders.timeout(Status.CREATED, fires_at=at_noon, name="noon")(to_paid)
    first, second = orders.timeouts
    assert (first.name, first.after, first.fires_at) == ("to_paid", SECOND, None)
    assert (second.name, second.after, second.fires_at) == ("noon", None, at_noon)
    assert first.targets == {2}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "either after= or fires_at="),
        ({"after": SECOND, "fires_at": to_paid}, "either after= or fires_at="),
        ({"after": timedelta(0)}, "after must be more than zero"),
        ({"after": SECOND, "name": ""}, "1 to 100 characters"),
        ({"after": SECOND, "name": "n" * 101}, "1 to 100 characters"),
    ],
    ids=str,
)
def test_timer_is_refused_when_its_settings_make_no_sense(
    make: MakeWorkflow, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DefinitionError, match=problem):
        make().timeout(Status.CREATED, **options)(to_paid)


def test_timer_is_refused_when_its_status_has_one_of_that_name(make: MakeWorkflow) -> None:
    """One key for two timers: the second would have been taken for the first."""
    orders = make()
    orders.timeout(Status.CREATED, after=SECOND)(to_paid)
    orders.timeout(Status.PAID, after=SECOND, name="to_paid")(to_shipped)
    with pytest.raises(DefinitionError, match="has a timer named 'to_paid' already"):
        orders.timeout(Status.CREATED, after=2 * SECOND)(to_paid)
    assert len(orders.timeouts) == 2


# -- generated graphs


def looks_up(run: OrderRun) -> Status:
    return Status.PAID


def test_add_step_takes_its_targets_when_the_annotation_cannot_tell_them(
    make: MakeWorkflow,
) -> None:
    orders = make()
    orders.add_step(Status.CREATED, looks_up, to=[Status.PAID, Status.SHIPPED], concurrency=3)
    step = orders.steps[1]
    assert (step.targets, step.concurrency, step.name) == ({2, 3}, 3, "looks_up")
    assert step.directives == {Pause, Cancel, Skip, Repeat}


@pytest.mark.parametrize("verb", ["add_step", "add_callback", "add_timeout"])
def test_added_body_is_refused_when_a_target_is_foreign(make: MakeWorkflow, verb: str) -> None:
    options: dict[str, Any] = {"add_callback": {"payload": None}, "add_timeout": {"after": SECOND}}
    with pytest.raises(DefinitionError, match=r"to: Other\.PAID is no Status"):
        getattr(make(), verb)(Status.CREATED, looks_up, to=[Other.PAID], **options.get(verb, {}))


def test_add_step_is_refused_when_the_run_alone_does_not_fit(make: MakeWorkflow) -> None:
    orders = make()
    with pytest.raises(
        DefinitionError, match=r"orders.add_step\(Status.CREATED\), with_payload .* the run alone"
    ):
        orders.add_step(Status.CREATED, with_payload, to=[Status.PAID])


def test_add_timeout_and_add_callback_keep_what_is_told_when_called(make: MakeWorkflow) -> None:
    orders = make()
    callback = orders.add_callback(Status.CREATED, with_payload, payload=str, to={Status.PAID})
    orders.add_timeout(Status.CREATED, looks_up, to=[Status.PAID], after=SECOND, name="late")
    assert (callback.payload_type, callback.step.targets) == (str, {2})
    assert [timeout.name for timeout in orders.timeouts] == ["late"]
