"""How values are shown to people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workflow_core import RunState
from workflow_core.model import UNSTAMPED

__all__ = [
    "EXPLAINED",
    "VERBS",
    "ago",
    "clean",
    "count",
    "exact",
    "length",
    "state_words",
    "told_status",
    "type_name",
]

VERBS = {
    "pause": "Pause",
    "resume": "Resume",
    "retry": "Retry now",
    "cancel": "Cancel",
    "move": "Move",
    "callback": "Call back",
    "again": "Begin again",
    "delete": "Delete data",
}
"""What the buttons say."""

EXPLAINED = {
    "pause": "No step begins, and the result of one that runs now is dropped. Only a resume ends"
    " this pause.",
    "resume": "It goes on where it stands, its attempts counted anew.",
    "retry": "What waits for its next try, a repeat or a start is due at once. Attempts stay"
    " counted.",
    "cancel": "It ends where it stands, for good. A step that runs now is told so.",
    "move": "It is put at another status, whether or not a step leads there; a new stay begins.",
    "callback": "The workflow's own function is called here, and moves it on.",
    "again": "A new run with the same foreign id and data begins at the start.",
    "delete": "Its data and every copy are deleted for good; the run itself stays.",
}

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def length(span: timedelta | float | None) -> str:
    """Two units at most: ``3 d 4 h``, ``12 min``, ``1.2 s``, ``40 ms``; "" for None."""
    if span is None:
        return ""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 1:
        return f"{sign}{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{sign}{seconds:.1f} s".replace(".0 s", " s")
    parts: list[str] = []
    left = round(seconds)
    for size, unit in _STEPS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
    return sign + " ".join(parts[:2])


def ago(at: datetime | None, now: datetime) -> str:
    """``5 min ago``, ``in 2 h``, ``now``; "" for no time."""
    if at is None or at == UNSTAMPED:
        return ""
    span = now - at
    if abs(span) < timedelta(seconds=1):
        return "now"
    return f"{length(span)} ago" if span > timedelta(0) else f"in {length(-span)}"


def exact(at: datetime | None) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    if at is None or at == UNSTAMPED:
        return ""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def state_words(state: RunState) -> str:
    """``data deleted``."""
    return state.name.lower().replace("_", " ")


def count(number: int) -> str:
    """With thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def told_status(status: int) -> str:
    """What an HTTP status means here."""
    known = {
        400: "This cannot be taken",
        403: "Not for you",
        404: "Not here",
        409: "It does not fit",
        413: "Too much",
        415: "Another type is wanted",
        422: "The workflow refused",
        501: "This store cannot do that",
        503: "The store does not answer",
    }
    return known.get(status, "This went wrong")


def type_name(wanted: object) -> str:
    """The name of a type, as a person would say it."""
    return getattr(wanted, "__name__", None) or str(wanted)


def clean(text: str) -> str:
    """What is not to be seen made visible: control characters, and those that turn text round."""
    return "".join(_shown(c) for c in text)


def _shown(character: str) -> str:
    if character in "\n\t" or character.isprintable() or character == "\u202f":
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨{code:04x}⟩"
