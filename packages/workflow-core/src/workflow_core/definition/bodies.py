"""What can be told of a body without running it: its function, name, place and parameters."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, TypeAlias

__all__ = [
    "Body",
    "UnfitBodyError",
    "function_of",
    "is_async",
    "is_generator",
    "name_of",
    "parameters",
    "place_of",
    "signature_of",
]

Body: TypeAlias = Callable[..., Any]


class UnfitBodyError(Exception):
    """A body cannot be registered: the problem, and what to do about it, or ""."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def function_of(body: Any) -> Body:
    """The plain function underneath wrappers, partials, bound methods and callable objects."""
    while True:
        if isinstance(body, functools.partial):
            body = body.func
        elif inspect.ismethod(body):
            body = body.__func__
        elif hasattr(body, "__wrapped__"):
            body = body.__wrapped__
        elif inspect.isroutine(body) or isinstance(body, type):
            return body
        else:
            body = type(body).__call__


def is_async(body: Any) -> bool:
    """Whether calling it gives an awaitable; a plain wrapper is as its wrapped function is."""
    return inspect.iscoroutinefunction(function_of(body))


def is_generator(body: Any) -> bool:
    """Whether calling it gives a generator."""
    function = function_of(body)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def name_of(body: Any) -> str:
    """The function's name; a callable object goes by its class's."""
    while isinstance(body, functools.partial):
        body = body.func
    return getattr(body, "__name__", None) or type(body).__name__


def place_of(body: Any) -> str:
    """File and line, the file as its module is named: no machine's folders; "" without source."""
    function = function_of(body)
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    file = PurePath(code.co_filename)
    depth = (getattr(function, "__module__", None) or "").count(".") + 1
    depth += file.name == "__init__.py"
    return f"{'/'.join(file.parts[-depth:])}:{code.co_firstlineno}"


def parameters(body: Any, *, most: int, given: str = "") -> list[str]:
    """The names of the first ``most`` parameters that a caller fills by position, without ``self``.

    Raises:
        UnfitBodyError: it cannot be called with these alone.
    """
    try:
        signature = signature_of(body)
    except (TypeError, ValueError) as error:
        raise UnfitBodyError("has no signature that could be read") from error
    by_position = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ][:most]
    try:
        signature.bind(*by_position or ["run"])
    except TypeError as error:
        what = given or ("the run alone" if most == 1 else "the run and a payload")
        raise UnfitBodyError(f"cannot be called with {what}: {error}") from error
    return by_position


def signature_of(body: Any) -> inspect.Signature:
    """How it is called; what its annotations name need not exist."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(body, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(body)
