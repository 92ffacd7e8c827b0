"""Dead letters: what a hook, a connector or a deletion could not handle."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from workflow_core.model.value import UNSTAMPED, Value

__all__ = ["DeadLetter", "LetterKind", "LetterState"]


class LetterKind(StrEnum):
    """Whose work failed."""

    HOOK = "hook"
    CONNECTOR = "connector"
    DELETION = "deletion"


class LetterState(StrEnum):
    """What becomes of it."""

    RETRYING = "retrying"
    """It has failed and is tried again by itself."""
    SET_ASIDE = "set aside"
    """It has failed for the last time: somebody is to retry or discard it."""
    HANDLED = "handled"
    """A later try went well."""
    DISCARDED = "discarded"


class DeadLetter(Value, frozen=True, kw_only=True, gc=False):
    """One piece of work that failed. What it carries, and errors, may hold personal data."""

    id: str
    workflow: str
    """The workflow whose hook, connector or deletion failed."""
    kind: LetterKind
    name: str
    """The hook's or connector's name in the definition."""
    state: LetterState
    attempts: int
    """Failed attempts, since the last retry that somebody asked for."""
    error: str
    """The last one's, at most 4 KB."""
    run_id: str = ""
    """The run that it is about; "" for a connector's."""
    version: int = 0
    """The version of the run that it is about; 0 for a connector's."""
    foreign_id: str = ""
    """The run's foreign id, or the key of a connector's event."""
    event_id: str = ""
    """The id of a connector's event in its source; "" for others."""
    value: bytes = b""
    """What a connector's event carries; empty for others, and once it is handled or discarded."""
    created_at: datetime = UNSTAMPED
    """When it failed first, by the store's clock."""
    updated_at: datetime = UNSTAMPED
    next_try_at: datetime | None = None

    def __repr__(self) -> str:
        # neither the error nor the value: they end up in logs, and may hold data
        return (
            f"<DeadLetter {self.id} of {self.kind} {self.name!r}, workflow {self.workflow!r}: "
            f"{self.state} after {self.attempts} attempts>"
        )
