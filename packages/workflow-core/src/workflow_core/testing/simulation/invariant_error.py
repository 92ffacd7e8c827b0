"""What a simulation raises when an invariant does not hold."""

from __future__ import annotations

__all__ = ["InvariantError"]


class InvariantError(AssertionError):
    """An invariant does not hold; its text begins with which one, and for which run."""
