"""Loads an adapter's factory and reads off it which settings it takes."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, get_type_hints

from workflow_core.discovery.entry_points import InstalledAdapter
from workflow_core.errors import ConfigurationError

__all__ = ["Factory", "load_factory"]

# the key of an adapter's table that names the adapter itself
RESERVED = "adapter"


@dataclass(frozen=True)
class Factory:
    """How an adapter is made.

    Attributes:
        make: takes the settings and an `AdapterContext`, answers the adapter.
        schema: the frozen dataclass of its settings.
    """

    make: Callable[[Any, Any], Any]
    schema: type[Any]


def load_factory(adapter: InstalledAdapter) -> Factory:
    """Import what the entry point names.

    Raises:
        ConfigurationError: it cannot be imported, or does not take a frozen dataclass. Names the
            distribution; the import's own error is the cause.
    """
    try:
        make = adapter.entry_point.load()
    except Exception as problem:
        # of other errors only the type is told: what a module says on import may hold anything
        told = f": {problem}" if isinstance(problem, ImportError | AttributeError) else ""
        raise ConfigurationError(
            f"{adapter} cannot be imported: {type(problem).__name__}{told}"
        ) from problem
    try:
        return Factory(make, _schema(make))
    except Exception as problem:
        raise ConfigurationError(
            f"{adapter} does not tell its settings: {problem}; that is a mistake of the adapter's"
        ) from problem


def _schema(make: Any) -> type[Any]:
    parameters = inspect.signature(make).parameters.values()
    first = next(iter(parameters), None)
    if first is None or first.annotation is first.empty:
        raise TypeError("the first parameter of its factory has no annotation")
    schema = first.annotation
    if isinstance(schema, str):  # only this one: the others may not be importable at run time
        schema = eval(schema, _namespace(make))
    if not (isinstance(schema, type) and dataclasses.is_dataclass(schema)):
        raise TypeError("the first parameter of its factory is no dataclass")
    if not cast(Any, schema).__dataclass_params__.frozen:
        raise TypeError(f"{schema.__name__} is not frozen")
    if RESERVED in get_type_hints(schema):
        raise TypeError(f"{schema.__name__} has a field {RESERVED!r}, which is reserved")
    return schema


def _namespace(make: Any) -> dict[str, Any]:
    """The module in which the factory's annotations were written."""
    while isinstance(make, functools.partial):
        make = make.func
    if isinstance(make, type):
        make = cast(Any, make).__init__
    function = inspect.unwrap(make)
    module = getattr(function, "__module__", None) or type(function).__module__
    return dict(vars(sys.modules[module]))
