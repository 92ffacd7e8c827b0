"""Finds workflows by ``module:name``, as a person names them on the command line."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import workflow_core
from workflow_core import Workflow

__all__ = ["load", "named"]

AnyWorkflow = Workflow[Any, Any]

_OURS = (str(Path(workflow_core.__file__).parent), "<frozen")


def load(references: Iterable[str]) -> list[AnyWorkflow]:
    """The workflows that these name, each once, in order.

    ``module`` alone means all that it defines or imports; the name may be a workflow, several in a
    list, tuple or mapping, or a function without parameters that answers one of these.

    Raises:
        click.UsageError: it cannot be imported, or names no workflow.
    """
    _look_here()
    found: dict[int, AnyWorkflow] = {}
    for reference in references:
        for workflow in _workflows(reference):
            found[id(workflow)] = workflow
    names = [workflow.name for workflow in found.values()]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise click.UsageError(f"two workflows are called {min(doubled)!r}")
    return list(found.values())


def named(reference: str) -> Any:
    """What ``module:name`` names, whatever it is. Raises as `load`."""
    _look_here()
    name, colon, attribute = reference.partition(":")
    if not colon:
        raise click.UsageError(f"{reference!r} is not of the form module:name")
    module = _import(name, reference)
    if not hasattr(module, attribute):
        raise click.UsageError(f"{name!r} has no {attribute!r}")
    return getattr(module, attribute)


def _look_here() -> None:
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it
        sys.path.insert(0, here)


def _workflows(reference: str) -> list[AnyWorkflow]:
    name, colon, attribute = reference.partition(":")
    module = _import(name, reference)
    if not colon:
        found = [each for each in vars(module).values() if isinstance(each, Workflow)]
        if not found:
            raise click.UsageError(f"{name!r} has no workflow in it")
        return found
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            near = ", ".join(sorted(k for k, v in vars(module).items() if isinstance(v, Workflow)))
            told = f"; it has {near}" if near else ""
            raise click.UsageError(f"{name!r} has no {attribute!r}{told}")
        value = getattr(value, part)
    if not isinstance(value, Workflow) and callable(value):
        value = _called(value, reference)
    if isinstance(value, Mapping):
        value = list(value.values())
    many = value if isinstance(value, list | tuple) else [value]
    if not many or not all(isinstance(each, Workflow) for each in many):
        raise click.UsageError(f"{reference!r} is no workflow, nor several")
    return list(many)


def _called(function: Callable[[], Any], reference: str) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise _broken(f"calling {reference!r}", error) from error


def _import(name: str, reference: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise click.UsageError(
                f"there is no module {error.name!r}, for {reference!r}; it is looked for in "
                "the current directory too"
            ) from error
        raise _broken(f"importing {name!r}", error) from error
    except (ValueError, TypeError) as error:
        if not name or name.startswith("."):
            raise click.UsageError(f"{reference!r} is not of the form module:name") from error
        raise _broken(f"importing {name!r}", error) from error
    except (Exception, SystemExit) as error:
        raise _broken(f"importing {name!r}", error) from error


def _broken(doing: str, error: BaseException) -> click.UsageError:
    # its last place that is the user's; not the whole traceback
    if isinstance(error, SyntaxError):
        filename, line, told = error.filename, error.lineno, error.msg
    else:
        places = traceback.extract_tb(error.__traceback__)
        theirs = [place for place in places if not place.filename.startswith(_OURS)]
        place = (theirs or places)[-1]
        filename, line, told = place.filename, place.lineno, str(error)
    return click.UsageError(
        f"{doing} failed with {type(error).__name__}: {told} ({filename}:{line})"
    )
