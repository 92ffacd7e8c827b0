"""The layout as SVG. Colours and fonts are the style sheet's; it brings no style of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from workflow_webui.graphs.layout import Box, Layout, Route
from workflow_webui.words import clean

__all__ = ["NodeLook", "draw"]


@dataclass(frozen=True)
class NodeLook:
    """What is said in and by a box beside its name.

    Attributes:
        text: under the name, such as ``1 204 running``.
        link: where a click leads; "" for nowhere.
        marks: further classes, such as ``here`` or ``passed``.
    """

    text: str = ""
    link: str = ""
    marks: Sequence[str] = ()


def draw(
    layout: Layout,
    told: str,
    look: Callable[[int], NodeLook],
    taken: Collection[tuple[int, int]] = (),
) -> Markup:
    """The picture; every text in it is escaped here.

    Args:
        layout: where everything goes.
        told: what the picture shows, for who cannot see it.
        look: by the status's number.
        taken: ways that are to stand out, as pairs of statuses.
    """
    size = f"{layout.width:.0f} {layout.height:.0f}"
    body = Markup("").join(
        [
            *(
                _route(route, (route.edge.source, route.edge.target) in taken)
                for route in layout.routes
            ),
            *(_label(route) for route in layout.routes),
            *(_box(box, look(box.node.number)) for box in layout.boxes),
        ]
    )
    return Markup(
        '<svg class="graph" viewBox="0 0 {}" width="{:.0f}" height="{:.0f}" role="group"'
        ' aria-label="{}">{}{}</svg>'
    ).format(Markup(size), layout.width, layout.height, clean(told), _ARROWS, body)


_ARROWS = (
    Markup("<defs>")
    + Markup("").join(
        Markup(
            '<marker id="arrow-{0}" class="arrow {0}" viewBox="0 0 8 8" refX="7" refY="4"'
            ' markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            '<path d="M0 .8 7.500 4 0 7.200z"/></marker>'
        ).format(kind)
        for kind in ("plain", "taken")
    )
    + Markup("</defs>")
)


def _route(route: Route, is_taken: bool) -> Markup:
    return Markup('<path class="way {}{}" d="{}" marker-end="url(#arrow-{})"/>').format(
        route.edge.kind.value,
        " taken" if is_taken else "",
        _curve(route.points),
        "taken" if is_taken else "plain",
    )


def _label(route: Route) -> Markup:
    x, y = route.label
    return Markup('<text class="way-label {}" x="{:.1f}" y="{:.1f}">{}</text>').format(
        route.edge.kind.value, x, y + 4, clean(route.edge.label)
    )


def _box(box: Box, look: NodeLook) -> Markup:
    node = box.node
    marks = ["node", *(["start"] if node.is_start else []), *(["end"] if node.is_end else [])]
    radius = box.height / 2 if node.is_end else 7.0
    left, top = box.x - box.width / 2, box.y - box.height / 2
    name_y = box.y - 3 if look.text else box.y + 4
    drawn = Markup(
        '<g class="{}"><rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{:.1f}"/>{}'
        '<text class="name" x="{:.1f}" y="{:.1f}">{}</text>{}</g>'
    ).format(
        " ".join([*marks, *look.marks]),
        left,
        top,
        box.width,
        box.height,
        radius,
        _start_mark(left, top, box.height) if node.is_start else "",
        box.x,
        name_y,
        clean(node.name),
        _text(box, look.text),
    )
    if not look.link:
        return drawn
    told = f"{node.name}: {look.text}" if look.text else node.name
    return Markup('<a href="{}" aria-label="{}">{}</a>').format(look.link, clean(told), drawn)


def _start_mark(left: float, top: float, height: float) -> Markup:
    return Markup('<path class="start-mark" d="M{:.1f} {:.1f}v{:.1f}"/>').format(
        left + 5, top + 8, height - 16
    )


def _text(box: Box, text: str) -> Markup:
    if not text:
        return Markup("")
    return Markup('<text class="told" x="{:.1f}" y="{:.1f}">{}</text>').format(
        box.x, box.y + 14, escape(clean(text))
    )


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line through the points that never swings out beyond them (monotone in y)."""
    if len(points) == 4 and points[0][0] == points[3][0]:  # a loop at the side of its box
        (x, y), (right, _), _, (_, below) = points
        out, back = f"{right:.1f} {y - 8:.1f}", f"{right:.1f} {below + 8:.1f}"
        return f"M{x:.1f} {y:.1f}C{out} {back} {x:.1f} {below:.1f}"
    leans = _leans(points)
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for place, ((x, y), (next_x, next_y)) in enumerate(pairwise(points)):
        third = (next_y - y) / 3
        one = f"{x + third * leans[place]:.1f} {y + third:.1f}"
        other = f"{next_x - third * leans[place + 1]:.1f} {next_y - third:.1f}"
        parts.append(f"C{one} {other} {next_x:.1f} {next_y:.1f}")
    return "".join(parts)


def _leans(points: Sequence[tuple[float, float]]) -> list[float]:
    """How far the line leans sideways at each point: the mean of both sides, 0 where it turns."""
    slopes = [(x2 - x1) / ((y2 - y1) or 1e-9) for (x1, y1), (x2, y2) in pairwise(points)]
    inner = [
        0.0 if one * other <= 0 else 2 * one * other / (one + other)
        for one, other in pairwise(slopes)
    ]
    if not inner:
        return [slopes[0], slopes[0]]
    return [(3 * slopes[0] - inner[0]) / 2, *inner, (3 * slopes[-1] - inner[-1]) / 2]
