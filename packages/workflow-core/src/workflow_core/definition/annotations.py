"""Reads, from a body's annotations, what it may answer and what it takes.

Only ``return`` and a callback's payload are looked at: the run's own annotation may name what is
imported for type checkers alone.
"""

from __future__ import annotations

import collections.abc
import difflib
import sys
import typing
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from types import FrameType, NoneType, UnionType
from typing import Any, ForwardRef, NamedTuple

from workflow_core.definition.answers import DIRECTIVES, Cancel, Pause, Repeat, Skip
from workflow_core.definition.bodies import Body, UnfitBodyError, function_of, parameters

__all__ = ["Answers", "Scope", "read_answers", "read_payload"]

_MISSING: Any = object()
# for those who import them under TYPE_CHECKING
_OWN_WORDS: dict[str, Any] = {
    **{word.__name__: word for word in (Pause, Cancel, Skip, Repeat)},
    **{
        word: getattr(typing, word) for word in ("Annotated", "Any", "Literal", "Optional", "Union")
    },
    "Awaitable": collections.abc.Awaitable,
    "Coroutine": collections.abc.Coroutine,
    "typing": typing,
}


class Answers(NamedTuple):
    """What a body may answer."""

    targets: frozenset[int]
    directives: frozenset[type]


class Scope:
    """The names that a body's annotations may use.

    In order: locals of the frame that wrote the decorator (with ``from __future__ import
    annotations`` an enum local to a test is nowhere else), the function's closure, its module's
    names, our own words.

    Args:
        body: the one whose annotations are read.
        frame: where the decorator stands; its locals count only for functions of the same module.
        statuses: the workflow's, for hints.
        instead: the call that registers the body without reading annotations, for hints.
    """

    def __init__(
        self, body: Body, frame: FrameType, *, statuses: type[IntEnum], instead: str
    ) -> None:
        function = function_of(body)
        own = getattr(function, "__globals__", {})
        self._names: ChainMap[str, Any] = ChainMap(dict(_closure(function)), own, _OWN_WORDS)
        if own is frame.f_globals and frame.f_locals is not own:
            self._names = self._names.new_child(dict(frame.f_locals))
        self._statuses = statuses
        self._instead = instead

    def evaluate(self, reference: str | ForwardRef) -> Any:
        """What the text of an annotation stands for.

        Raises:
            UnfitBodyError: it cannot be evaluated here.
        """
        text = reference if isinstance(reference, str) else reference.__forward_arg__
        try:
            return eval(text, {}, self._names)
        except NameError as error:
            raise self.unknown_name(f'"{text}"', str(error.name)) from error
        except AttributeError as error:
            name = error.name or str(error)
            problem = f'cannot read "{text}": no {name!r} in it'
            raise UnfitBodyError(problem, _near_member(name, self._statuses)) from error
        except Exception as error:
            problem = f'cannot read "{text}": {type(error).__name__}: {error}'
            raise UnfitBodyError(problem) from error

    def unknown_name(self, what: str, name: str) -> UnfitBodyError:
        """The problem that ``what`` uses a name which is not known here."""
        return UnfitBodyError(
            f"cannot read {what}: no name {name!r} here",
            f"{_did_you_mean(name, self._names)}If it is imported under"
            f' "if TYPE_CHECKING", import it for real, or register it with {self._instead}',
        )


def read_answers(body: Body, scope: Scope, statuses: type[IntEnum]) -> Answers:
    """What the return annotation allows.

    Raises:
        UnfitBodyError: there is none, or it allows what a body cannot answer.
    """
    annotation = _annotations(function_of(body)).get("return", _MISSING)
    if annotation is _MISSING:
        raise UnfitBodyError("it has no return annotation", _name_them(statuses))
    targets: set[int] = set()
    directives: set[type] = set()
    for choice in _choices(annotation, scope):
        if isinstance(choice, type) and choice in DIRECTIVES:
            directives.add(choice)
        elif type(choice) is statuses:
            targets.add(int(choice))
        else:
            raise _refusal(choice, statuses)
    return Answers(frozenset(targets), frozenset(directives))


def read_payload(body: Body, scope: Scope) -> Any:
    """The type of a callback's payload, or None where its body takes the run alone.

    Raises:
        UnfitBodyError: the parameter has no annotation, or one that cannot be evaluated.
    """
    taken = parameters(body, most=2)
    if len(taken) < 2:
        return None
    annotation = _annotations(function_of(body)).get(taken[1], _MISSING)
    if annotation is _MISSING:
        raise UnfitBodyError(f"the type of its payload {taken[1]!r} is not annotated")
    while isinstance(annotation, str | ForwardRef):
        annotation = scope.evaluate(annotation)
    if annotation is None or annotation is NoneType:
        raise UnfitBodyError(f"its payload {taken[1]!r} is always None", "Leave the parameter out")
    return annotation


def _annotations(function: Body) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return getattr(function, "__annotations__", {})


def _closure(function: Body) -> Iterator[tuple[str, Any]]:
    code = getattr(function, "__code__", None)
    names = code.co_freevars if code else ()
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # assigned further down, and not yet
            continue


def _choices(annotation: Any, scope: Scope) -> Iterator[Any]:
    """All that the annotation allows: literal values and classes, aliases and unions unfolded."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if isinstance(annotation, str | ForwardRef):
        yield from _choices(scope.evaluate(annotation), scope)
    elif type(annotation).__name__ == "TypeAliasType":  # typing's, or typing_extensions'
        yield from _choices(_value_of_alias(annotation, scope), scope)
    elif origin is typing.Literal:
        yield from arguments
    elif origin in (typing.Union, UnionType):
        for argument in arguments:
            yield from _choices(argument, scope)
    elif origin is typing.Annotated:
        yield from _choices(arguments[0], scope)
    elif origin in (collections.abc.Awaitable, collections.abc.Coroutine):
        yield from _choices(arguments[-1], scope)
    else:
        yield annotation


def _value_of_alias(alias: Any, scope: Scope) -> Any:
    try:
        return alias.__value__
    except NameError as error:
        raise scope.unknown_name(f"the alias {alias.__name__}", str(error.name)) from error


def _refusal(choice: Any, statuses: type[IntEnum]) -> UnfitBodyError:
    """Why a body cannot answer this."""
    enum = statuses.__name__
    if choice is None or choice is NoneType:
        return UnfitBodyError("it may answer None", "Answer Skip() to leave the run where it is")
    if choice is statuses:
        return UnfitBodyError(
            f'"-> {enum}" would allow every status: name them', _name_them(statuses)
        )
    if isinstance(choice, IntEnum):
        theirs = f"{type(choice).__name__}.{choice.name}"
        return UnfitBodyError(f"{theirs} is none of this workflow's {enum}", _name_them(statuses))
    if isinstance(choice, str):
        problem = f"it answers the text {choice!r}, which is no {enum}"
        return UnfitBodyError(problem, _near_member(choice, statuses))
    if isinstance(choice, int):
        named = [status.name for status in statuses if int(status) == choice]
        hint = f"Did you mean {enum}.{named[0]}?" if named else ""
        return UnfitBodyError(f"it answers the number {choice!r}, which is no {enum}", hint)
    shown = choice.__qualname__ if isinstance(choice, type) else str(choice)
    return UnfitBodyError(
        f"it answers {shown}, which is neither a {enum} nor Pause, Cancel, Skip or Repeat",
        _name_them(statuses),
    )


def _name_them(statuses: type[IntEnum]) -> str:
    example = f"{statuses.__name__}.{list(statuses)[-1].name}"
    return f"Name what it answers, for example -> Literal[{example}]"


def _near_member(name: str, statuses: type[IntEnum]) -> str:
    near = difflib.get_close_matches(name.upper(), list(statuses.__members__), n=1)
    return f"Did you mean {statuses.__name__}.{near[0]}?" if near else ""


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""
