"""Back-off, and the directives."""

import dataclasses
import random
from datetime import timedelta
from enum import IntEnum
from typing import Any

import pytest
from workflow_core.definition import Cancel, Pause, Repeat, Retry, Skip
from workflow_core.errors import DefinitionError, InputError

SECOND = timedelta(seconds=1)


def delays(retry: Retry, *attempts: int) -> list[float]:
    return [retry.delay(n, random.Random(0)).total_seconds() for n in attempts]


def test_retry_doubles_up_to_five_minutes_when_nothing_is_said() -> None:
    retry = Retry(jitter=False)
    assert delays(retry, 1, 2, 3, 9, 10, 11) == [1, 2, 4, 256, 300, 300]


def test_retry_stays_at_the_maximum_when_attempts_are_beyond_every_float() -> None:
    """Seen to fail (OverflowError) without the except."""
    assert delays(Retry(jitter=False), 1_025, 10**6) == [300, 300]
    assert delays(Retry(jitter=False, factor=1e300), 2, 3, 10**6) == [300, 300, 300]


def test_retry_stays_at_first_when_the_factor_is_one() -> None:
    assert delays(Retry(jitter=False, factor=1), 1, 10**6) == [1, 1]


@pytest.mark.parametrize("attempts", [1, 4, 10**6])
def test_retry_draws_from_the_upper_half_when_it_jitters(attempts: int) -> None:
    entropy, retry = random.Random(7), Retry()
    whole = Retry(jitter=False).delay(attempts, entropy)
    drawn = [retry.delay(attempts, entropy) for _ in range(1000)]
    assert whole / 2 <= min(drawn) < whole * 0.51
    assert whole * 0.99 < max(drawn) <= whole


def test_retry_gives_up_when_attempts_are_used_up() -> None:
    retry = Retry(pause_after=3)
    assert [retry.gives_up(n, ValueError()) for n in (1, 2, 3, 4)] == [False, False, True, True]


def test_retry_gives_up_at_once_when_the_error_is_one_that_never_heals() -> None:
    retry = Retry(never=(LookupError,))
    assert retry.gives_up(1, KeyError())
    assert not retry.gives_up(1, ValueError())


class Status(IntEnum):
    A = 1


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"first": timedelta(0)}, "first must be more than zero"),
        ({"first": -SECOND}, "first must be more than zero"),
        ({"factor": 0.5}, "factor must be 1 or more"),
        ({"factor": float("nan")}, "factor must be 1 or more"),
        ({"factor": float("inf")}, "factor must be 1 or more"),
        ({"first": 2 * SECOND, "maximum": SECOND}, "is shorter than first"),
        ({"pause_after": 0}, "pause_after must be 1 or more"),
        ({"never": ValueError}, "never must be a tuple of exception classes"),
        ({"never": (ValueError, 3)}, "never must be a tuple of exception classes"),
        ({"then": 3}, "then must be a status"),
    ],
    ids=str,
)
def test_retry_is_refused_when_it_makes_no_sense(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        Retry(**wrong)


def test_retry_takes_a_status_when_giving_up_shall_move_the_run() -> None:
    assert Retry(then=Status.A).then is Status.A


def test_repeat_is_refused_when_its_time_is_past() -> None:
    with pytest.raises(InputError, match="past"):
        Repeat(after=-SECOND)


@pytest.mark.parametrize("directive", [Pause("why"), Cancel("why"), Skip(), Repeat(SECOND)])
def test_directive_cannot_be_changed_when_it_is_made(directive: Any) -> None:
    assert directive == dataclasses.replace(directive)
    for field in dataclasses.fields(directive):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(directive, field.name, None)
