"""Events as Kafka messages, to the byte as the Go project luno/workflow writes them.

The key is the run id, the value the status in decimal, six headers are Go's. Further headers are
ours: they begin with ``event_`` and are left out where they would say what is usual, so a Go
process reads what we write, and what it writes reads as an event of kind `entered`. Whatever else
a message has for headers are the event's own, such as ``traceparent``; one whose name would be
taken for a header of this format is written with a prefix.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message
from workflow_core.model import UNSTAMPED, Event, EventKind, RunState

__all__ = ["Headers", "decode", "encode", "text_headers", "time_of"]

Headers: TypeAlias = list[tuple[str, str | bytes | None]]

_ESCAPE = "header."
_GO = frozenset({"workflow_name", "foreign_id", "topic", "run_id", "run_state", "record_version"})
_OURS = "event_"
_POSITIONS = uuid.UUID("6b8a2f1e-5d64-5d0b-9a53-3c1f0f0f6c52")
_STATES = {str(int(state)): state for state in RunState}
_STATE_TEXTS = {state: str(int(state)).encode() for state in RunState}


def encode(event: Event) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers.

    Raises:
        ValueError: a text that cannot be written as UTF-8, or a header's name that has a NUL.
    """
    run_id = event.run_id.encode()
    headers: Headers = [
        ("workflow_name", event.workflow.encode()),
        ("foreign_id", event.foreign_id.encode()),
        ("topic", event.topic.encode()),
        ("run_id", run_id),
        ("run_state", _STATE_TEXTS[event.state]),
        ("record_version", b"%d" % event.version),
        ("event_id", event.id.encode()),
    ]
    if event.kind is not EventKind.ENTERED:
        headers.append(("event_kind", event.kind.encode()))
    if event.target:
        headers.append(("event_target", event.target.encode()))
    if event.attempt:
        headers.append(("event_attempt", b"%d" % event.attempt))
    if event.created_at != UNSTAMPED:
        headers.append(("event_created_at", event.created_at.isoformat().encode()))
    for name, text in event.headers.items():
        if "\0" in name:
            raise ValueError("a header's name has a NUL")
        headers.append((_escaped(name), text.encode()))
    return run_id, b"%d" % event.status, headers


def decode(message: Message, topic: str) -> Event:
    """The event that a message tells.

    Args:
        message: one without an error.
        topic: its topic, without the namespace.

    Raises:
        ValueError: it is no event; in words that quote nothing of it.
    """
    found = text_headers(message)
    value = message.value()
    if value is None:
        raise ValueError("it has no value")
    own = {_unescaped(name): text for name, text in found.items() if not _is_reserved(name)}
    stamp = found.get("event_created_at")
    run_id = found.get("run_id") or (message.key() or b"").decode()
    if not run_id:
        raise ValueError("it names no run")
    return Event(
        id=found.get("event_id") or _made_up_id(message),
        topic=topic,
        workflow=_needed(found, "workflow_name"),
        run_id=run_id,
        foreign_id=_needed(found, "foreign_id"),
        status=_number(value.decode(), "value"),
        state=_state(_needed(found, "run_state")),
        version=_number(_needed(found, "record_version"), "record_version"),
        kind=_kind(found.get("event_kind", "")),
        target=found.get("event_target", ""),
        attempt=_number(found.get("event_attempt", "0"), "event_attempt"),
        headers=own,
        created_at=_time(stamp) if stamp else time_of(message),
    )


def text_headers(message: Message) -> dict[str, str]:
    """The headers as text; of two with one name the last.

    Raises:
        ValueError: one is no UTF-8.
    """
    found: dict[str, str] = {}
    headers = message.headers() or []
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        found[name] = value if isinstance(value, str) else (value or b"").decode()
    return found


def time_of(message: Message) -> datetime:
    """The message's timestamp: the broker's time where the topic says so, else the sender's."""
    kind, milliseconds = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        return UNSTAMPED
    return UNSTAMPED + timedelta(milliseconds=milliseconds)


def _is_reserved(name: str) -> bool:
    return name in _GO or name.startswith(_OURS)


def _escaped(name: str) -> str:
    return _ESCAPE + name if _is_reserved(name) or name.startswith(_ESCAPE) else name


def _unescaped(name: str) -> str:
    return name.removeprefix(_ESCAPE)


def _needed(headers: Mapping[str, str], name: str) -> str:
    try:
        return headers[name]
    except KeyError:
        raise ValueError(f"it has no header {name}") from None


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:  # whose words quote the text
        raise ValueError(f"its {what} is no number") from None


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("its event_created_at is no time") from None


def _state(text: str) -> RunState:
    try:
        return _STATES[text]
    except KeyError:
        raise ValueError("its run_state is none that we know") from None


def _kind(text: str) -> EventKind:
    """A kind that a later release has made up concerns the workflow's own consumer alone."""
    if not text:
        return EventKind.ENTERED
    try:
        return EventKind(text)
    except ValueError:
        return EventKind.NUDGE


def _made_up_id(message: Message) -> str:
    place = f"{message.topic()}/{message.partition()}/{message.offset()}"
    return str(uuid.uuid5(_POSITIONS, place))
