"""Answers that several users ask for at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from workflow_webui.remembering import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable


def test_many_at_once_ask_the_store_once() -> None:
    """Seen to fail when an answer on its way is not waited for."""
    remembered, asked = Remembered(), []
    go = threading.Event()

    def ask() -> int:
        asked.append(1)
        go.wait(10)
        return 5

    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(remembered.get, "a", 60.0, ask) for _ in range(8)]
        go.set()
        assert [answer.result() for answer in answers] == [5] * 8
    assert len(asked) == 1


def test_failures_are_not_kept() -> None:
    """Seen to fail when `_answer` leaves the failed promise in its place."""
    remembered = Remembered()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        remembered.get("a", 60.0, fail)
    assert remembered.get("a", 60.0, lambda: 7) == 7


def test_what_is_over_or_forgotten_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered, answers, now = Remembered(), iter(range(9)), [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    assert remembered.get("a", 30.0, lambda: next(answers)) == 0
    now[0] += 29
    assert remembered.get("a", 30.0, lambda: next(answers)) == 0
    remembered.forget()
    assert remembered.get("a", 30.0, lambda: next(answers)) == 1
    now[0] += 91
    assert remembered.get("a", 30.0, lambda: next(answers)) == 2
    assert remembered.get("past", 3600.0, lambda: 8) == 8
    remembered.forget()
    assert remembered.get("past", 3600.0, lambda: 9) == 8


def test_old_answer_is_given_while_a_new_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    """Seen to fail when the asker waits, and when each of the askers asks."""
    remembered, asked, now = Remembered(), [], [time.monotonic()]
    monkeypatch.setattr("workflow_webui.remembering.time.monotonic", lambda: now[0])
    go = threading.Event()

    def ask() -> int:
        asked.append(1)
        if len(asked) > 1:
            go.wait(10)
        return len(asked)

    assert remembered.get("a", 30.0, ask) == 1
    now[0] += 31
    assert [remembered.get("a", 30.0, ask) for _ in range(3)] == [1, 1, 1]
    go.set()
    monkeypatch.undo()  # `until` has a deadline by the clock
    until(lambda: remembered.get("a", 1e9, ask), lambda answer: answer == 2)
    assert len(asked) == 2


def test_failure_behind_the_scenes_is_told_to_the_next(
    monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    remembered, now = Remembered(), [1000.0]
    monkeypatch.setattr("workflow_webui.remembering.time.monotonic", lambda: now[0])
    threads = threading.active_count()
    remembered.get("a", 30.0, lambda: 1)
    now[0] += 31

    def fail() -> int:
        raise ValueError("no")

    assert remembered.get("a", 30.0, fail) == 1
    monkeypatch.undo()
    until(threading.active_count, lambda many: many <= threads)
    with pytest.raises(ValueError, match="no"):
        remembered.get("a", 30.0, fail)


def test_no_more_answers_are_kept_than_said() -> None:
    remembered = Remembered(most=2)
    for key in "abc":
        remembered.get(key, 60.0, lambda: 1)
    assert remembered.get("c", 60.0, lambda: 2) == 1
    assert remembered.get("a", 60.0, lambda: 2) == 2
