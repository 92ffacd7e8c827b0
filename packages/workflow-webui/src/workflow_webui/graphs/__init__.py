"""A workflow drawn: what leads where, laid out in layers, as SVG made here."""

from workflow_webui.graphs.drawing import NodeLook, draw
from workflow_webui.graphs.layout import Layout, laid_out
from workflow_webui.graphs.model import Edge, EdgeKind, Graph, Node, graph_of

__all__ = [
    "Edge",
    "EdgeKind",
    "Graph",
    "Layout",
    "Node",
    "NodeLook",
    "draw",
    "graph_of",
    "laid_out",
]
