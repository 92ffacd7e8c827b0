"""Small charts as SVG: bars, a line, shares. Their words say what they show, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from markupsafe import Markup
from workflow_core import RunState

from workflow_webui.reading.throughput import Throughput
from workflow_webui.words import count, length, state_words

__all__ = ["bars", "line", "shares"]

_WIDTH, _HEIGHT = 168.0, 34.0


def bars(found: Throughput) -> Markup:
    """Begun and ended side by side, five minutes each."""
    top, step = max(1, found.highest), _WIDTH / len(found.bars)
    drawn = Markup("").join(
        Markup(
            '<g><title>{}: {} begun, {} ended</title><rect class="slot" x="{:.1f}" y="0"'
            ' width="{:.1f}" height="{:.0f}"/><rect class="begun" x="{:.1f}" y="{:.1f}"'
            ' width="{:.1f}" height="{:.1f}"/><rect class="ended" x="{:.1f}" y="{:.1f}"'
            ' width="{:.1f}" height="{:.1f}"/></g>'
        ).format(
            bar.begin.strftime("%H:%M"),
            bar.begun,
            bar.ended,
            place * step,
            step,
            _HEIGHT,
            place * step + 1,
            *_column(bar.begun, top, step),
            place * step + step / 2,
            *_column(bar.ended, top, step),
        )
        for place, bar in enumerate(found.bars)
    )
    told = f"In the last hour {count(found.begun)} runs begun and {count(found.ended)} ended"
    return _chart("bars", told, drawn)


def line(points: Sequence[tuple[datetime, float]]) -> Markup:
    """A value over time, such as a lag in seconds; nothing for less than two points."""
    if len(points) < 2:
        return Markup("")
    first, last = points[0][0], points[-1][0]
    span = max((last - first).total_seconds(), 1e-9)
    top = max(*(value for _, value in points), 1e-3)
    path = " ".join(
        f"{(at - first).total_seconds() / span * _WIDTH:.1f},"
        f"{_HEIGHT - 2 - value / top * (_HEIGHT - 4):.1f}"
        for at, value in points
    )
    told = f"At most {length(top)} in the last {length(last - first)}, now {length(points[-1][1])}"
    return _chart("line", told, Markup('<polyline points="{}"/>').format(path))


def shares(by_state: Mapping[RunState, int]) -> Markup:
    """How much of all runs is in which state, as one bar."""
    total = sum(by_state.values())
    if not total:
        return Markup("")
    drawn, x = [], 0.0
    for state in RunState:
        width = by_state.get(state, 0) / total * _WIDTH
        if width:
            name = state.name.lower().replace("_", "-")
            drawn.append(
                Markup(
                    '<rect class="share-{}" x="{:.2f}" y="0" width="{:.2f}" height="6">'
                    "<title>{}: {}</title></rect>"
                ).format(name, x, width, state_words(state), count(by_state[state]))
            )
            x += width
    told = ", ".join(
        f"{count(number)} {state_words(state)}" for state, number in by_state.items() if number
    )
    return Markup(
        '<svg class="chart shares" viewBox="0 0 168 6" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>'
    ).format(told, Markup("").join(drawn))


def _column(value: int, top: int, step: float) -> tuple[float, float, float]:
    height = max(1.5, value / top * (_HEIGHT - 1)) if value else 0.0
    return _HEIGHT - height, step / 2 - 1, height


def _chart(kind: str, told: str, drawn: Markup) -> Markup:
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {:.0f} {:.0f}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>'
    ).format(kind, _WIDTH, _HEIGHT, told, drawn)
