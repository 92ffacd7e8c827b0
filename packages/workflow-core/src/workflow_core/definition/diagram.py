"""A definition drawn as a mermaid flowchart: text that many viewers show as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from enum import IntEnum

from workflow_core.definition.answers import Repeat
from workflow_core.definition.steps import CallbackStep, Consumer, TimeoutStep

__all__ = ["diagram"]

_STEP, _CALLBACK, _TIMEOUT = "-->", "-.->", "==>"
_ESCAPED = {
    "#": "#35;",
    '"': "#quot;",
    "<": "#lt;",
    ">": "#gt;",
    "|": "#124;",
    "`": "#96;",
}


def diagram(
    statuses: Iterable[IntEnum],
    consumers: Sequence[Consumer],
    *,
    starts: Sequence[int],
    ends: frozenset[int],
) -> str:
    """The text, ending in a newline; the same for the same definition.

    Only statuses that something leads to or from are drawn.
    """
    drawn = {*starts, *ends}
    for consumer in consumers:
        drawn |= {consumer.status, *consumer.targets}
    shown = [status for status in statuses if int(status) in drawn]
    lines = ["flowchart TD", *(f"    {_node(status, starts, ends)}" for status in shown)]
    for status in shown:
        here = [consumer for consumer in consumers if consumer.status == int(status)]
        lines += [f"    {edge}" for consumer in here for edge in _edges(consumer)]
    return "\n".join(lines) + "\n"


def _node(status: IntEnum, starts: Sequence[int], ends: frozenset[int]) -> str:
    name = _text(status.name)
    if int(status) in ends:
        return f's{int(status)}(["{name}"])'
    if int(status) in starts:
        return f's{int(status)}[["{name}"]]'
    return f's{int(status)}["{name}"]'


def _edges(consumer: Consumer) -> Iterator[str]:
    arrow, label = _STEP, consumer.name
    if isinstance(consumer, CallbackStep):
        arrow, label = _CALLBACK, f"callback {consumer.name}"
    elif isinstance(consumer, TimeoutStep):
        when = f" after {_duration(consumer.after)}" if consumer.after is not None else ""
        arrow, label = _TIMEOUT, f"timeout {consumer.name}{when}"
    for target in sorted(consumer.targets):
        yield f's{consumer.status} {arrow}|"{_text(label)}"| s{target}'
    # a step added with to=[…] may answer any directive: that is nothing to draw
    if consumer.annotated and Repeat in consumer.directives:
        yield f's{consumer.status} {arrow}|"{_text(label)}, again"| s{consumer.status}'


def _text(text: str) -> str:
    """As mermaid shows it, whatever is in it."""
    return "".join(_ESCAPED.get(character, character) for character in " ".join(text.split()))


def _duration(length: timedelta) -> str:
    """E.g. ``1 d 2 h``, ``90 s`` as ``1 min 30 s``."""
    minutes, seconds = divmod(length.total_seconds(), 60)
    hours, minutes = divmod(int(minutes), 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{number:g} {unit}" for number, unit in parts if number)
