"""Suspicion: what an event knows of processes that died while they had it.

A step that takes its process with it (a segmentation fault, no memory left) never raises, so nobody
counts the attempt, and the event goes to the next process, with its neighbours. What tells such an
event is a header: of the event, not of its run, so that it survives the outbox and any streamer.
"""

from __future__ import annotations

from enum import StrEnum

from workflow_core.model import Event

__all__ = ["Suspicion", "suspected", "suspicion_of"]

_HEADER = "workflow-suspect"


class Suspicion(StrEnum):
    """What a process did with the event that it did not come back from; the gravest last."""

    HELD = "held"
    """It had the event, perhaps one of thousands."""
    TRIED = "tried"
    """It was about to begin the attempt, among others, and knew of an earlier process's death."""
    BEGUN = "begun"
    """It had begun the attempt alone."""


_GRAVITY = {suspicion.value: number for number, suspicion in enumerate(Suspicion)}


def suspicion_of(event: Event) -> Suspicion | None:
    """What the event is suspected of; None: of nothing."""
    found = event.headers.get(_HEADER)
    if found is None:
        return None
    return Suspicion(found) if found in _GRAVITY else Suspicion.HELD


def suspected(event: Event, suspicion: Suspicion = Suspicion.HELD) -> Event:
    """The event with this suspicion, or the graver one that it has already."""
    known = suspicion_of(event)
    if known is not None and _GRAVITY[known] >= _GRAVITY[suspicion]:
        return event
    return event.replace(headers={**event.headers, _HEADER: suspicion.value})
