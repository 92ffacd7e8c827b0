"""Where everything goes: layers from top to bottom, as few crossings as a few sweeps can find.

The usual steps (Sugiyama): ways that lead back are turned round, each status gets the layer of the
longest way to it, the order within layers follows the middle of the neighbours, and then places are
pulled towards the neighbours without overlapping. Between two layers of statuses lies a layer of
labels, and a label takes part in all of this as if it were a status: so no two overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from workflow_webui.graphs.model import Edge, Graph, Node

__all__ = ["Box", "Layout", "Route", "laid_out"]

NODE_HEIGHT, LABEL_HEIGHT = 46.0, 22.0
GAP_ACROSS, GAP_DOWN = 22.0, 17.0
_MARGIN = 14.0
_NODE_LETTER, _LABEL_LETTER = 7.6, 6.5  # widths of a letter, with something to spare
_SWEEPS = 12
_LOOP_ROOM = 34.0  # to the right of a status that leads to itself


@dataclass(frozen=True)
class Box:
    """A status in its place; x and y are of its middle."""

    node: Node
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Route:
    """A way in its place: points from the edge of one box to that of another."""

    edge: Edge
    points: Sequence[tuple[float, float]]
    label: tuple[float, float]
    """The middle of its label."""


@dataclass(frozen=True)
class Layout:
    """The whole picture."""

    width: float
    height: float
    boxes: Sequence[Box]
    routes: Sequence[Route]


@dataclass(eq=False)
class _Item:
    """Something in a layer: a status, a label, or a bend of a long way."""

    layer: int
    width: float
    order: float = 0.0
    x: float = 0.0
    above: list[_Item] = field(default_factory=list)
    below: list[_Item] = field(default_factory=list)


def laid_out(graph: Graph, narrowest: float = 118.0) -> Layout:
    """The same layout for the same graph; no box is narrower than that."""
    layers_of = _layers(graph)
    items = {
        node.number: _Item(layers_of[node.number] * 2, _node_width(node, narrowest))
        for node in graph.nodes
    }
    chains = {
        place: _chain(edge, items) for place, edge in enumerate(graph.edges) if not _loops(edge)
    }
    layers = _in_layers([*items.values(), *(item for chain in chains.values() for item in chain)])
    _order(layers)
    _place(layers)
    return _drawn(graph, items, chains, layers)


# -- layers ------------------------------------------------------------------------------------


def _layers(graph: Graph) -> dict[int, int]:
    """The longest way from a start to each status, ways that lead back turned round."""
    back = _leading_back(graph)
    leads: dict[int, set[int]] = defaultdict(set)
    for place, edge in enumerate(graph.edges):
        if not _loops(edge):
            source, target = (edge.source, edge.target) if place not in back else _turned(edge)
            leads[source].add(target)
    layers = {node.number: 0 for node in graph.nodes}
    for number in _topological(layers, leads):
        for target in leads[number]:
            layers[target] = max(layers[target], layers[number] + 1)
    return layers


def _leading_back(graph: Graph) -> set[int]:
    """The places of edges that close a cycle, seen from the starts."""
    leaving: dict[int, list[tuple[int, Edge]]] = defaultdict(list)
    for place, edge in enumerate(graph.edges):
        leaving[edge.source].append((place, edge))
    starts = sorted(graph.nodes, key=lambda node: not node.is_start)
    back: set[int] = set()
    done: set[int] = set()
    for start in starts:
        if start.number in done:
            continue
        open_here = [start.number]
        ways = [iter(leaving[start.number])]
        while ways:
            step = next(ways[-1], None)
            if step is None:
                ways.pop()
                done.add(open_here.pop())
                continue
            place, edge = step
            if edge.target in open_here:
                back.add(place)
            elif edge.target not in done:
                open_here.append(edge.target)
                ways.append(iter(leaving[edge.target]))
    return back


def _topological(numbers: Mapping[int, int], leads: Mapping[int, set[int]]) -> list[int]:
    waits = dict.fromkeys(numbers, 0)
    for targets in leads.values():
        for target in targets:
            waits[target] += 1
    ready = [number for number, many in waits.items() if not many]
    found: list[int] = []
    while ready:
        number = ready.pop(0)
        found.append(number)
        for target in sorted(leads.get(number, ())):
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    return found


def _chain(edge: Edge, items: Mapping[int, _Item]) -> list[_Item]:
    """The label and the bends of a way, from its upper end to its lower one."""
    upper, lower = items[edge.source], items[edge.target]
    if upper.layer > lower.layer:
        upper, lower = lower, upper
    elif upper.layer == lower.layer:  # only where a cycle was cut in an odd place
        return []
    middle = (upper.layer + lower.layer) // 2
    middle += middle % 2 == 0  # labels lie between the layers of statuses
    chain = [
        _Item(layer, _label_width(edge) if layer == middle else 8.0)
        for layer in range(upper.layer + 1, lower.layer)
    ]
    linked = [upper, *chain, lower]
    for one, other in pairwise(linked):
        one.below.append(other)
        other.above.append(one)
    return chain


# -- order and places --------------------------------------------------------------------------


def _in_layers(items: Sequence[_Item]) -> list[list[_Item]]:
    layers: list[list[_Item]] = [[] for _ in range(max(item.layer for item in items) + 1)]
    for item in items:
        item.order = float(len(layers[item.layer]))
        layers[item.layer].append(item)
    return [layer for layer in layers if layer]


def _order(layers: Sequence[list[_Item]]) -> None:
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            for item in layer:
                near = item.above if down else item.below
                if near:
                    item.order = sum(other.order for other in near) / len(near)
            layer.sort(key=lambda item: item.order)
            for place, item in enumerate(layer):
                item.order = float(place)


def _place(layers: Sequence[Sequence[_Item]]) -> None:
    for layer in layers:
        x = 0.0
        for item in layer:
            item.x = x + item.width / 2
            x += item.width + GAP_ACROSS
    for sweep in range(_SWEEPS * 2):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [_wanted(item, sweep) for item in layer]
            _pack(layer, wanted)


def _wanted(item: _Item, sweep: int) -> float:
    near = [*item.above, *item.below] if sweep > 4 else item.above if sweep % 2 == 0 else item.below
    return sum(other.x for other in near) / len(near) if near else item.x


def _pack(layer: Sequence[_Item], wanted: Sequence[float]) -> None:
    """As near to what is wanted as can be without overlapping, by least squares.

    Counted from where each would be if all stood close together, places only have to ascend; what
    would descend is pooled to its mean until nothing does.
    """
    close = [0.0]
    for left, right in pairwise(layer):
        close.append(close[-1] + (left.width + right.width) / 2 + GAP_ACROSS)
    pools: list[tuple[float, int]] = []  # sum and number of wishes
    for wish, at in zip(wanted, close, strict=True):
        pools.append((wish - at, 1))
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last, before = pools.pop(), pools.pop()
            pools.append((last[0] + before[0], last[1] + before[1]))
    places = [_mean(pool) for pool in pools for _ in range(pool[1])]
    for item, place, at in zip(layer, places, close, strict=True):
        item.x = place + at


def _mean(pool: tuple[float, int]) -> float:
    return pool[0] / pool[1]


# -- the picture -------------------------------------------------------------------------------


def _drawn(
    graph: Graph,
    items: Mapping[int, _Item],
    chains: Mapping[int, Sequence[_Item]],
    layers: Sequence[Sequence[_Item]],
) -> Layout:
    left = min(item.x - item.width / 2 for layer in layers for item in layer)
    right = max(item.x + item.width / 2 for layer in layers for item in layer)
    loops = [edge for edge in graph.edges if _loops(edge)]
    room = max((_LOOP_ROOM + _label_width(edge) for edge in loops), default=0.0)
    shift = _MARGIN - left

    def y(layer: int) -> float:
        upper, half = divmod(layer, 2)
        down = upper * (NODE_HEIGHT + LABEL_HEIGHT + 2 * GAP_DOWN)
        middle = NODE_HEIGHT + GAP_DOWN + LABEL_HEIGHT / 2 if half else NODE_HEIGHT / 2
        return _MARGIN + down + middle

    boxes = {
        node.number: Box(
            node,
            items[node.number].x + shift,
            y(items[node.number].layer),
            items[node.number].width,
            NODE_HEIGHT,
        )
        for node in graph.nodes
    }
    routes = [
        _loop(edge, boxes[edge.source])
        if _loops(edge)
        else _route(edge, boxes, [(i.x + shift, y(i.layer), i) for i in chains[place]])
        for place, edge in enumerate(graph.edges)
    ]
    deepest = max(box.y for box in boxes.values())
    return Layout(
        width=right - left + 2 * _MARGIN + room,
        height=deepest + NODE_HEIGHT / 2 + _MARGIN,
        boxes=list(boxes.values()),
        routes=routes,
    )


def _route(
    edge: Edge, boxes: Mapping[int, Box], bends: Sequence[tuple[float, float, _Item]]
) -> Route:
    source, target = boxes[edge.source], boxes[edge.target]
    downwards = source.y < target.y
    upper, lower = (source, target) if downwards else (target, source)
    first, last = (bends[0][0], bends[-1][0]) if bends else (lower.x, upper.x)
    points = [
        (_on(upper, first), upper.y + upper.height / 2),
        *((x, y) for x, y, _ in bends),
        (_on(lower, last), lower.y - lower.height / 2),
    ]
    labels = [(x, y) for x, y, item in bends if item.width > 8.0]
    middle = labels[0] if labels else ((points[0][0] + points[-1][0]) / 2, points[0][1])
    return Route(edge, points if downwards else points[::-1], middle)


def _on(box: Box, towards: float) -> float:
    """Where a way meets the box: nearer to where it goes, so that several do not meet in one."""
    reach = box.width * 0.3
    return box.x + max(-reach, min(reach, (towards - box.x) * 0.35))


def _loop(edge: Edge, box: Box) -> Route:
    right, reach = box.x + box.width / 2, 24.0
    points = [
        (right, box.y - 9),
        (right + reach, box.y - 9),
        (right + reach, box.y + 9),
        (right, box.y + 9),
    ]
    return Route(edge, points, (right + _LOOP_ROOM + _label_width(edge) / 2 - 6, box.y))


def _loops(edge: Edge) -> bool:
    return edge.source == edge.target


def _turned(edge: Edge) -> tuple[int, int]:
    return edge.target, edge.source


def _node_width(node: Node, narrowest: float) -> float:
    return max(narrowest, len(node.name) * _NODE_LETTER + 30)


def _label_width(edge: Edge) -> float:
    return len(edge.label) * _LABEL_LETTER + 12
