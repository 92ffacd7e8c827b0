"""How timers travel to the scripts and back: MessagePack, and texts checked on their way in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from workflow_core.errors import InputError
from workflow_core.model import Timeout

from workflow_redis_timeout.failures import ADAPTER

__all__ = [
    "EPOCH",
    "MICROSECOND",
    "Row",
    "as_bytes",
    "due_first",
    "item_of",
    "keys_of",
    "microseconds",
    "not_a_text",
    "packed",
    "rows_of",
    "size_of",
    "sized",
    "timeout_of",
    "up_to",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_FAR = 1 << 60  # microseconds, beyond any calendar either way; the scripts stop at its end

# as the scripts have it: workflow, run, status, entered version, name, attempts, error, repeat,
# due, parked
_Kept = tuple[str, str, int, int, str, int, str, int, int, bool]
Row = tuple[str, _Kept]  # with its key
keys_of = msgspec.msgpack.Decoder(list[str]).decode
rows_of = msgspec.msgpack.Decoder(list[Row]).decode
_encoder = msgspec.msgpack.Encoder()


def item_of(timeout: Timeout) -> tuple[Any, ...]:
    """A timer as `create.lua` takes it."""
    kept = (
        timeout.workflow,
        timeout.run_id,
        timeout.status,
        timeout.entered_version,
        timeout.name,
        timeout.attempts,
        timeout.error,
        timeout.repeat,
    )
    return timeout.key, microseconds(timeout.delay), kept


def microseconds(delay: timedelta) -> int:
    """A delay as scripts take it."""
    return max(-_FAR, min(delay // MICROSECOND, _FAR))


def size_of(timeout: Timeout) -> int:
    """Roughly; in characters."""
    return 2 * len(timeout.key) + len(timeout.run_id) + len(timeout.workflow) + len(timeout.error)


def sized(keys: Sequence[str]) -> Sequence[tuple[str, int, str]]:
    """Keys, as `Buckets.parts` takes items."""
    return [(key, len(key), key) for key in keys]


def timeout_of(row: Row) -> Timeout:
    """The timer in a row."""
    key, kept = row
    workflow, run_id, status, entered_version, name, attempts, error, repeat, due, parked = kept
    return Timeout(
        key=key,
        workflow=workflow,
        run_id=run_id,
        status=status,
        entered_version=entered_version,
        name=name,
        due_at=EPOCH + timedelta(0, 0, due),
        repeat=repeat,
        attempts=attempts,
        error=error,
        parked=parked,
    )


def due_first(row: Row) -> tuple[int, str]:
    """Sorts rows, what is due first before the others."""
    key, kept = row
    return kept[8], key


def up_to(last: tuple[int, str], found: Sequence[Row]) -> int:
    """How many of the rows, sorted by `due_first`, are not beyond this place."""
    return sum(due_first(row) <= last for row in found)


def packed(value: Any, doing: str) -> bytes:
    """For a script. Raises InputError: half a character is in it."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError as error:
        raise not_a_text(doing) from error


def as_bytes(text: str, doing: str) -> bytes:
    """As `packed`, a plain text."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise not_a_text(doing) from error


def not_a_text(doing: str) -> InputError:
    """What is raised for half a character."""
    return InputError(
        f"{doing}: a key, name, id or error holds half a character and cannot be stored",
        adapter=ADAPTER,
    )
