"""Which contract this suite holds adapters to, and how new cases arrive in it.

The contract has the first two numbers of the core that it is tied to: suite 0.3.x asks what core
0.3 needs. An adapter that was certified by one release must not turn red by the next without
notice, so a new case that every adapter has to pass says from which contract on: until then its
failure is a `ContractWarning` and stands in the verdict.
"""

from __future__ import annotations

import importlib.metadata as metadata
from collections.abc import Callable
from typing import TypeVar

__all__ = ["ContractWarning", "contract_version", "is_ahead", "mandatory_from", "mandatory_since"]

CaseT = TypeVar("CaseT", bound=Callable[..., object])
Contract = tuple[int, int]

_FROM = "_workflow_adaptertest_mandatory_from"


class ContractWarning(UserWarning):
    """A case fails that the next contract will have as a mandatory one."""


def contract_version() -> Contract:
    """Of the suite that is installed."""
    return parsed(metadata.version("workflow-adaptertest"))


def parsed(version: str) -> Contract:
    """The first two numbers of a version."""
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def mandatory_from(contract: str) -> Callable[[CaseT], CaseT]:
    """A new case: its failure is a warning until the suite's contract is this one, e.g. "0.2"."""

    def mark(case: CaseT) -> CaseT:
        setattr(case, _FROM, parsed(contract))
        return case

    return mark


def mandatory_since(case: object) -> Contract:
    """From which contract on the case has to pass; (0, 0): always."""
    return getattr(case, _FROM, (0, 0))


def is_ahead(case: object) -> bool:
    """Whether the case is not yet mandatory."""
    return mandatory_since(case) > contract_version()
