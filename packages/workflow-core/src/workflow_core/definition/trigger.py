"""What is needed to begin one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Generic, TypeVar

__all__ = ["Trigger"]

DataT = TypeVar("DataT")


@dataclass(frozen=True)
class Trigger(Generic[DataT]):
    """One run to be begun.

    Attributes:
        foreign_id: the business key, 1 to 255 characters; at most one live run has it.
        data: the run's data.
        status: where it begins; None: at the workflow's start.
        idempotency_key: the same key answers the same run, for as long as the run is kept.
        start_at: not before this time, by the store's clock; aware.
        headers: travel with every event of the run, e.g. a trace context.
    """

    foreign_id: str
    data: DataT
    status: IntEnum | None = None
    idempotency_key: str | None = None
    start_at: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
