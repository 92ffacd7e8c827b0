"""Puts the environment's variables into the texts of a file: ``${NAME}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Interpolated", "InterpolationError", "interpolate"]

_REFERENCE = re.compile(r"\$(\$\{)|\$\{([^{}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InterpolationError(Exception):
    """A text names a variable that cannot be had; the message never holds the text itself."""


@dataclass(frozen=True)
class Interpolated:
    """A value with its variables filled in.

    Attributes:
        value: the value, of the same shape as before.
        variables: the names of those that were filled in.
    """

    value: object
    variables: tuple[str, ...]


def interpolate(value: object, environ: Mapping[str, str]) -> Interpolated:
    """Fill in every ``${NAME}`` of a text, or of the texts in a list or table; ``$${`` is ``${``.

    Raises:
        InterpolationError: a variable is not set, or what follows ``${`` is no name and ``}``.
    """
    used: dict[str, None] = {}

    def fill(found: re.Match[str]) -> str:
        escaped, name, closed = found.groups()
        if escaped:
            return "${"
        if not closed or not _NAME.fullmatch(name):
            raise InterpolationError("only ${NAME} is understood; for the text '${' write '$${'")
        if name not in environ:
            raise InterpolationError(f"the environment has no variable {name}")
        used[name] = None
        return environ[name]

    def walk(part: object) -> object:
        if isinstance(part, str):
            return _REFERENCE.sub(fill, part)
        if isinstance(part, list):
            return [walk(item) for item in part]
        if isinstance(part, dict):
            return {key: walk(item) for key, item in part.items()}
        return part

    return Interpolated(walk(value), tuple(used))
