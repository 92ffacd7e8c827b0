"""The statuses of a definition and the ways between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workflow_core import Repeat, Workflow
from workflow_core.definition import CallbackStep, Consumer, TimeoutStep

from workflow_webui.words import length

__all__ = ["Edge", "EdgeKind", "Graph", "Node", "graph_of"]


class EdgeKind(StrEnum):
    """What moves a run along."""

    STEP = "step"
    CALLBACK = "callback"
    TIMER = "timer"


@dataclass(frozen=True)
class Node:
    """A status."""

    number: int
    name: str
    is_start: bool
    is_end: bool


@dataclass(frozen=True)
class Edge:
    """One way from a status to another, or back to itself."""

    source: int
    target: int
    kind: EdgeKind
    label: str


@dataclass(frozen=True)
class Graph:
    """All of it; statuses that nothing leads to or from are left out."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]


def graph_of(workflow: Workflow[Any, Any]) -> Graph:
    """The definition's graph."""
    workflow.check()
    consumers = [*workflow.steps.values(), *workflow.callbacks, *workflow.timeouts]
    edges = [edge for consumer in consumers for edge in _edges(consumer)]
    drawn = {int(workflow.start), *workflow.ends}
    for edge in edges:
        drawn |= {edge.source, edge.target}
    nodes = [
        Node(int(s), str(s.name), s == workflow.start, int(s) in workflow.ends)
        for s in workflow.statuses
        if int(s) in drawn
    ]
    return Graph(nodes, edges)


def _edges(consumer: Consumer) -> Iterator[Edge]:
    kind, label = EdgeKind.STEP, consumer.name
    if isinstance(consumer, CallbackStep):
        kind = EdgeKind.CALLBACK
    elif isinstance(consumer, TimeoutStep):
        kind = EdgeKind.TIMER
        if consumer.after is not None:
            label = f"{consumer.name} after {length(consumer.after)}"
    for target in sorted(consumer.targets):
        yield Edge(consumer.status, target, kind, label)
    # a step added with to=[…] may answer any directive: that is nothing to draw
    if consumer.annotated and Repeat in consumer.directives:
        yield Edge(consumer.status, consumer.status, kind, f"{label}, again")
