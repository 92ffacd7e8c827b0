from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from workflow_core.discovery.convert import MismatchError, UnsupportedTypeError, convert
from workflow_core.ports import Secret


class Mode(Enum):
    ASYNC = "async"
    FULL = "full"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


FROM_A_FILE = [
    ("a", str, "a"),
    (3, int, 3),
    (3, float, 3.0),
    (0.5, float, 0.5),
    (True, bool, True),
    ("10s", timedelta, timedelta(seconds=10)),
    ("async", Mode, Mode.ASYNC),
    ("high", Level, Level.HIGH),
    ("b", Literal["a", "b"], "b"),
    (2, Literal[1, 2], 2),
    (["a", "b"], list[str], ["a", "b"]),
    (["a", "b"], tuple[str, ...], ("a", "b")),
    (["a", "b"], Sequence[str], ("a", "b")),
    (["a", "b"], frozenset[str], frozenset({"a", "b"})),
    (["1s"], tuple[timedelta, ...], (timedelta(seconds=1),)),
    ({"linger.ms": 5}, Mapping[str, int | str], {"linger.ms": 5}),
    ("data/x", Path, Path("data/x")),
    ("pw", Secret, Secret("pw")),
    (7, int | None, 7),
    (7, Optional[int], 7),  # noqa: UP045 - people write it
    ("x", int | str, "x"),
]


@pytest.mark.parametrize(("raw", "wanted", "value"), FROM_A_FILE)
def test_file_value_is_taken_when_its_type_is_right(
    raw: object, wanted: Any, value: object
) -> None:
    converted = convert(raw, wanted, lax=False)
    assert converted == value
    assert type(converted) is type(value)


FROM_THE_ENVIRONMENT = [
    ("3", int, 3),
    ("-3", int, -3),
    ("0.5", float, 0.5),
    ("TRUE", bool, True),
    ("off", bool, False),
    ("0", bool, False),
    ("10s", timedelta, timedelta(seconds=10)),
    ("low", Level, Level.LOW),
    ("2", Literal[1, 2], 2),
    ("a, b,", tuple[str, ...], ("a", "b")),
    ("1,2", list[int], [1, 2]),
    ("", tuple[str, ...], ()),
    ("", int | None, None),
    ("5", int | None, 5),
    ("true", bool | None, True),
    ("pw", Secret, Secret("pw")),
]


@pytest.mark.parametrize(("raw", "wanted", "value"), FROM_THE_ENVIRONMENT)
def test_text_is_read_as_the_type_when_lax(raw: str, wanted: Any, value: object) -> None:
    converted = convert(raw, wanted, lax=True)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("3", int),
        (True, int),
        (1, bool),
        (True, float),
        (3, str),
        ("true", bool),
        ("a,b", tuple[str, ...]),
        (10, timedelta),
        ("2", Literal[1, 2]),
        (True, Literal[1, 2]),
        (2, Level),
        ("", int | None),
        (5, Path),
        (5, Secret),
        (float("inf"), float),
        (["a", 1], tuple[str, ...]),
        ({"a": []}, Mapping[str, int]),
    ],
)
def test_file_value_is_refused_when_it_is_of_another_type(raw: object, wanted: Any) -> None:
    with pytest.raises(MismatchError):
        convert(raw, wanted, lax=False)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [("x", int), ("1.5", int), ("nan", float), ("maybe", bool), ("a=1", Mapping[str, str])],
)
def test_text_is_refused_when_it_cannot_be_read(raw: str, wanted: Any) -> None:
    with pytest.raises(MismatchError):
        convert(raw, wanted, lax=True)


@pytest.mark.parametrize(
    ("raw", "wanted", "sentence"),
    [
        ("many", int, "expected a whole number, got text"),
        (10, timedelta, "expected a duration such as '10s', '250ms' or '1h30m', got 10"),
        ("asnc", Mode, "expected one of 'async', 'full', got 'asnc'; did you mean 'async'?"),
        ("zz", Literal["a", "b"], "expected one of 'a', 'b', got 'zz'"),
        ([1, "x"], tuple[int, ...], "expected a whole number as item 2, got text"),
        ({"k": "x"}, Mapping[str, int], "expected a whole number as k, got text"),
        ([], int | str, "expected a whole number or text, got a list"),
        ({}, str, "expected text, got a table"),
    ],
)
def test_mismatch_says_what_was_expected(raw: object, wanted: Any, sentence: str) -> None:
    with pytest.raises(MismatchError) as caught:
        convert(raw, wanted, lax=False)
    assert caught.value.text(hide_value=False) == sentence


def test_mismatch_does_not_tell_the_value_when_it_is_hidden() -> None:
    with pytest.raises(MismatchError) as caught:
        convert("hunter2", Literal["a", "b"], lax=False)
    assert caught.value.text(hide_value=True) == "expected one of 'a', 'b', got text"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (timedelta(seconds=1), timedelta),
        (Mode.FULL, Mode),
        (Path("x"), Path),
        (Secret("pw"), Secret),
        (5, int),
        (("a", "b"), tuple[str, ...]),
        (None, int | None),
    ],
)
def test_value_is_taken_as_it_is_when_code_gives_the_type_itself(
    value: object, wanted: Any
) -> None:
    assert convert(value, wanted, lax=True) == value


@pytest.mark.parametrize("wanted", [complex, tuple[int, str], list, object, dict])
def test_type_is_unsupported_when_nothing_written_could_become_it(wanted: Any) -> None:
    with pytest.raises(UnsupportedTypeError):
        convert("x", wanted, lax=True)
