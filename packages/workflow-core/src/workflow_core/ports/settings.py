"""Types that an adapter's settings may use besides the standard ones."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """A text that never shows: printed, formatted and in ``repr`` it is "…".

    Not a `str`, so that an f-string cannot leak it. Use it for passwords, tokens and for URLs that
    may hold one.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the driver alone."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"

    def __str__(self) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))
