"""The scripts, each one atomic step in one bucket. Their texts are in ``lua/``."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

__all__ = [
    "CLOSE",
    "CLOSED",
    "CREATE",
    "DUE",
    "FORGET",
    "NEXT",
    "NOW",
    "PAGE",
    "PARK",
    "RESCHEDULE",
    "Script",
]


@dataclass(frozen=True)
class Script:
    """A script as servers know it.

    Attributes:
        text: the source.
        digest: what a server that has loaded it calls it.
    """

    text: str
    digest: str


def _read(name: str) -> Script:
    folder = files("workflow_redis_timeout") / "lua"
    parts = [folder / "common.lua", folder / f"{name}.lua"]
    text = "\n".join(part.read_text(encoding="utf-8") for part in parts)
    # the protocol's name for a text, no safeguard
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


CREATE = _read("create")
CLOSE = _read("close")
CLOSED = _read("closed")
PARK = _read("park")
RESCHEDULE = _read("reschedule")
FORGET = _read("forget")
DUE = _read("due")
NEXT = _read("next")
NOW = _read("now")
PAGE = _read("page")
