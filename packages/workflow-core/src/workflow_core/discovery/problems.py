"""Collects what is wrong with a configuration, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from workflow_core.errors import ConfigurationError

__all__ = ["Problems", "near_match", "nearest"]


class Problems:
    """What was found so far, each once and in the order found."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}
        self._causes: dict[str, Exception] = {}

    def add(self, where: str, what: str, *, cause: Exception | None = None) -> None:
        """Note one: ``where`` it stands and ``what`` is wrong, a sentence without a full stop."""
        text = f"{where}: {what}"
        self._texts[text] = None
        if cause is not None:
            # one broken module breaks every port of its wheel, in the same words
            self._causes.setdefault(repr(cause), cause)

    def __len__(self) -> int:
        return len(self._texts)

    def raise_if_any(self) -> None:
        """Raise all of them as one `ConfigurationError`; several causes come as a group."""
        if not self._texts:
            return
        count = len(self._texts)
        error = ConfigurationError(
            f"{count} problem{'s' if count > 1 else ''} in the configuration",
            problems=tuple(self._texts),
        )
        causes = list(self._causes.values())
        if len(causes) > 1:
            raise error from ExceptionGroup("several adapters cannot be used", causes)
        raise error from (causes[0] if causes else None)


def nearest(name: str, candidates: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The candidate that the name was probably meant to be, or None where none is near."""
    return next(iter(get_close_matches(name, sorted(candidates), n=1, cutoff=cutoff)), None)


def near_match(
    name: str, candidates: Iterable[str], *, prefix: str = "", cutoff: float = 0.6
) -> str:
    """``; did you mean 'url'?``, or nothing where no candidate is near.

    Of names that begin with the same ``prefix`` only the rest is compared, else all of them were
    near to each other.
    """
    bare = {it.removeprefix(prefix): it for it in candidates if it.startswith(prefix)}
    near = nearest(name.removeprefix(prefix), bare, cutoff=cutoff)
    return "" if near is None else f"; did you mean {bare[near]!r}?"
