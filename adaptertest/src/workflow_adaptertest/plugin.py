"""What pytest loads of this suite, by entry point: the guard of the contracts' cases.

Being loaded this way also makes pytest rewrite the suite's asserts, so that they show their values.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from workflow_core.errors import AdapterUnavailableError, WorkflowError

from workflow_adaptertest.contract import Contract, is_case

__all__ = ["pytest_plugins"]

# processes and locks as the servers' fixtures need them are to be had on POSIX only
pytest_plugins = ["workflow_adaptertest.servers.fixtures"] if os.name == "posix" else []

_FOREIGN = {"skip", "skipif", "xfail"}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses marks that would drop a case in silence, then marks the known failures."""
    problems: list[str] = []
    for item in items:
        cls = _class_of_case(item)
        if cls is None:
            continue
        marks = sorted({mark.name for mark in item.iter_markers()} & _FOREIGN)
        if marks:
            problems.append(f"{item.nodeid} is a contract's case and carries {', '.join(marks)}")
        reason = cls.known_failures.get(_name(item))
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    if problems:
        problems.append(
            "a case that the adapter fails belongs into known_failures, with its reason; where a"
            " server is missing, call pytest.skip in adapter()"
        )
        raise pytest.UsageError("\n".join(problems))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Makes an error that a case did not expect a failure of the case, so that it can be known.

    A service that does not answer stays an error of another kind: it says nothing of the adapter.
    """
    try:
        return (yield)
    except AdapterUnavailableError:
        raise
    except WorkflowError as error:
        if _class_of_case(pyfuncitem) is None:
            raise
        raise AssertionError(
            f"the adapter raised {type(error).__name__} where the contract has none: {error}"
        ) from error


def _class_of_case(item: pytest.Item) -> type[Contract] | None:
    cls = getattr(item, "cls", None)
    if not isinstance(cls, type) or not issubclass(cls, Contract):
        return None
    return cls if is_case(cls, _name(item)) else None


def _name(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name))
