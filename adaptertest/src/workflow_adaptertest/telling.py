"""What a case tells of itself while it runs: what it is about, and why it does not apply.

A case that depends on a capability must not pass by doing nothing: the verdict counts it apart.
So no case returns early; it says `needs` or `not_applicable` instead (a test reads all cases for
that). What an adapter does not claim is tried all the same, where trying is harmless: "not claimed
but working" is for the verdict to report.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NoReturn

from workflow_core.ports import Adapter, Capability

__all__ = ["NotApplicableError", "Telling", "listening", "needs", "not_applicable"]


class NotApplicableError(Exception):
    """The case has nothing to ask of this adapter; never seen outside of this suite."""


@dataclass
class Telling:
    """What the case that runs has told so far.

    Attributes:
        capability: the one that the case is about; None: part of every adapter's contract.
        tried: the capability is not claimed, and what follows is a mere attempt.
        untried: it is not claimed, and nothing was attempted: the case says nothing of it.
    """

    capability: Capability | None = None
    tried: bool = False
    untried: bool = False


_LISTENER: ContextVar[Telling | None] = ContextVar("workflow_adaptertest_telling", default=None)


@contextmanager
def listening() -> Iterator[Telling]:
    """Hears what the case that runs within tells."""
    telling = Telling()
    token = _LISTENER.set(telling)
    try:
        yield telling
    finally:
        _LISTENER.reset(token)


def needs(adapter: Adapter, capability: Capability, *, try_it: bool = True) -> None:
    """What follows in the case is about this capability.

    Args:
        adapter: the one under test.
        capability: what it has to claim.
        try_it: go on although it is not claimed, to find out whether it works. False where that
            would take long or change what the case means.

    Raises:
        NotApplicableError: it is not claimed, and not to be tried.
    """
    telling = _LISTENER.get()
    if telling is not None:
        telling.capability = capability
    if capability in adapter.capabilities:
        return
    if telling is None or not try_it:
        if telling is not None:
            telling.untried = True
        not_applicable(f"{capability.name} is not claimed")
    telling.tried = True


def not_applicable(why: str) -> NoReturn:
    """End the case: it has nothing to ask of this adapter."""
    raise NotApplicableError(why)
