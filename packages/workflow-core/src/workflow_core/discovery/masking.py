"""How values are shown to people: never a secret, never a URL's password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum

from workflow_core.discovery.durations import format_duration
from workflow_core.ports import Secret

__all__ = ["HIDDEN", "choice_label", "is_secretive", "mask", "shown"]

HIDDEN = "…"

# Third parties may keep a password in a plain text: what is named like one is hidden as well.
_SECRETIVE = re.compile(
    r"password|passwd|pwd|passphrase|secret|token|credential|(?:api|private).?key"
)
# up to the last @, since a password that nobody escaped may hold the others
_URL_PASSWORD = re.compile(r"(://[^:/?#@\s]*:)\S*@")
_PARAMETER = re.compile(rf"((?:{_SECRETIVE.pattern})\s*=\s*)('[^']*'|[^&;,\s]+)", re.IGNORECASE)


def is_secretive(name: str) -> bool:
    """Whether a setting of this name should better not be shown, whatever its type."""
    return _SECRETIVE.search(name.lower()) is not None


def mask(text: str) -> str:
    """The text without the passwords of URLs and connection strings in it."""
    masked = _URL_PASSWORD.sub(rf"\g<1>{HIDDEN}@", text)
    return _PARAMETER.sub(lambda found: f"{found[1]}{HIDDEN}", masked)


def shown(value: object, *, name: str = "") -> str:
    """The value of the setting ``name`` as a person would write it, secrets as "…"."""
    if value is None:
        return "not set"
    if isinstance(value, Secret) or is_secretive(name):
        return HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Enum):
        return choice_label(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {shown(item, name=str(key))}" for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(shown(item) for item in value)
    return mask(str(value))


def choice_label(member: Enum) -> str:
    """What a person writes for this member: its value where that is a text, else its name."""
    return member.value if isinstance(member.value, str) else member.name.lower()
