"""Which texts every store can keep, and look for, exactly as they are."""

from __future__ import annotations

from workflow_core.errors import InputError

__all__ = ["checked_text", "is_storable"]


def is_storable(text: object) -> bool:
    """Whether it is one.

    Not with a NUL in it, which PostgreSQL has in no text, and not with half of a surrogate pair,
    which no encoding has.
    """
    if not isinstance(text, str) or "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_text(text: object, what: str) -> str:
    """The text, where every store can keep it.

    To be asked before a store is: one text of many in a question would spoil it for all.

    Args:
        text: as given.
        what: what it is, with its article: "a run id".

    Raises:
        InputError: no text, or with a NUL or a lone surrogate in it.
    """
    if not isinstance(text, str):
        raise InputError(f"{what} is a text, not a {type(text).__name__}")
    if not is_storable(text):
        raise InputError(f"{what} must not hold NUL characters or lone surrogates")
    return text
