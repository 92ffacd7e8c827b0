"""Events as rows of Reflex's, to the byte as the Go project luno/workflow writes them.

``foreign_id`` is the run id, ``type`` the status, ``metadata`` the JSON of a map of texts with
sorted keys, of which six are Go's. Further keys are ours: they begin with ``event_`` and are left
out where they would say what is usual, so a Go process reads what we write, and what it writes
reads as an event of kind `entered`. Whatever else is in the map is the event's own headers, such as
``traceparent``; one whose name would be taken for a key of this format is written with a prefix.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from workflow_core.model import UNSTAMPED, Event, EventKind, RunState

__all__ = ["NOOP_KEY", "NOOP_TYPE", "Entry", "decode", "encode", "header_map", "utc"]

logger = logging.getLogger(__name__)

NOOP_KEY = "0"
NOOP_TYPE = 0
"""Both together are a row that means nothing: it fills a hole in the ids."""

_ESCAPE = "header."
_GO = frozenset({"workflow_name", "foreign_id", "topic", "run_id", "run_state", "record_version"})
_OURS = "event_"
_POSITIONS = uuid.UUID("0d0f5c2e-7a39-5b0c-8e43-9f6c1f7f4f1b")
_STATES = {str(int(state)): state for state in RunState}
_STATE_TEXTS = {state: str(int(state)) for state in RunState}
_KINDS = {str(kind): kind for kind in EventKind}
_MOST = 2**31
_texts = msgspec.json.Decoder(dict[str, str]).decode
_json = msgspec.json.Encoder(order="sorted").encode
# Go's encoder writes for web pages too
_FOR_WEB = (
    (b"<", rb"\u003c"),
    (b">", rb"\u003e"),
    (b"&", rb"\u0026"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


class Entry:
    """A row of the events table, read once by the process and looked at by all its receivers.

    Attributes:
        id: its number.
        key: ``foreign_id``.
        at: ``timestamp``, as the driver tells it; see `utc`.
        type: as it stands.
        metadata: as it stands, b"" for none.
        event: what it means; None: it is no event of a workflow's. Filled in by `decode`.
    """

    __slots__ = ("at", "event", "id", "is_decoded", "key", "metadata", "type")

    def __init__(self, id: int, key: str, at: object, type: int, metadata: bytes | None) -> None:
        self.id = id
        self.key = key
        self.at = at
        self.type = type
        self.metadata = bytes(metadata) if metadata else b""
        self.event: Event | None = None
        self.is_decoded = False

    @property
    def is_noop(self) -> bool:
        """Whether it only fills a hole."""
        return self.type == NOOP_TYPE and self.key == NOOP_KEY


def encode(event: Event) -> tuple[str, int, bytes]:
    """``foreign_id``, ``type`` and ``metadata``.

    Raises:
        ValueError: a text that cannot be written as UTF-8, a status that does not fit, or one that
            Reflex would take for a hole that was filled.
    """
    if not -_MOST <= event.status < _MOST:
        raise ValueError("its status does not fit 32 bits")
    if event.run_id == NOOP_KEY and event.status == NOOP_TYPE:
        raise ValueError("run 0 at status 0 is what fills a hole")
    told = {
        "workflow_name": event.workflow,
        "foreign_id": event.foreign_id,
        "topic": event.topic,
        "run_id": event.run_id,
        "run_state": _STATE_TEXTS[event.state],
        "record_version": str(event.version),
        "event_id": event.id,
    }
    if event.kind is not EventKind.ENTERED:
        told["event_kind"] = str(event.kind)
    if event.target:
        told["event_target"] = event.target
    if event.attempt:
        told["event_attempt"] = str(event.attempt)
    if event.created_at != UNSTAMPED:
        told["event_created_at"] = event.created_at.isoformat()
    for name, text in event.headers.items():
        told[_escaped(name)] = text
    metadata = _json(told)
    for plain, written in _FOR_WEB:
        if plain in metadata:
            metadata = metadata.replace(plain, written)
    return event.run_id, event.status, metadata


def decode(entry: Entry) -> Event | None:
    """The event that a row tells; None: it is none of a workflow's.

    One that is meant to be one and is broken is passed over, lest it stand in the way for ever, and
    said so in the log, in words that quote nothing of it.
    """
    if not entry.is_decoded:
        try:
            entry.event = _event(entry)
        except ValueError as error:
            logger.warning("row %d is no event that can be read, passed over: %s", entry.id, error)
        entry.is_decoded = True
    return entry.event


def header_map(metadata: bytes) -> Mapping[str, str] | None:
    """Metadata that is a map of texts; None: it is something else."""
    if not metadata.startswith(b"{"):
        return None
    try:
        return _texts(metadata)
    except ValueError:  # msgspec's and Unicode's are such
        return None


def utc(at: object) -> datetime:
    """A row's timestamp. Drivers tell it with or without a zone, and SQLite as text."""
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    if not isinstance(at, datetime):
        return UNSTAMPED
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _event(entry: Entry) -> Event | None:
    found = None if entry.is_noop else header_map(entry.metadata)
    if found is None or "topic" not in found or "workflow_name" not in found:
        return None
    stamp = found.get("event_created_at")
    return Event(
        id=found.get("event_id") or str(uuid.uuid5(_POSITIONS, str(entry.id))),
        topic=found["topic"],
        workflow=found["workflow_name"],
        run_id=found.get("run_id") or entry.key,
        foreign_id=_needed(found, "foreign_id"),
        status=entry.type,
        state=_state(_needed(found, "run_state")),
        version=_number(_needed(found, "record_version"), "record_version"),
        # one that a later release has made up concerns the workflow's own consumer alone
        kind=_KINDS.get(found.get("event_kind", "entered"), EventKind.NUDGE),
        target=found.get("event_target", ""),
        attempt=_number(found.get("event_attempt", "0"), "event_attempt"),
        headers={
            name.removeprefix(_ESCAPE): text
            for name, text in found.items()
            if not _is_reserved(name)
        },
        created_at=_time(stamp) if stamp else utc(entry.at),
    )


def _is_reserved(name: str) -> bool:
    return name in _GO or name.startswith(_OURS)


def _escaped(name: str) -> str:
    return _ESCAPE + name if _is_reserved(name) or name.startswith(_ESCAPE) else name


def _needed(found: Mapping[str, str], name: str) -> str:
    try:
        return found[name]
    except KeyError:
        raise ValueError(f"its metadata has no {name}") from None


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
