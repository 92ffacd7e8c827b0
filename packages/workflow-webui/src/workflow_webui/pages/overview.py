"""The overview, and each workflow's graph."""

from __future__ import annotations

from collections import Counter

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response
from workflow_core import RecordQuery, RunState

from workflow_webui.charts import bars, line, shares
from workflow_webui.errors import NotThereError
from workflow_webui.graphs import NodeLook, draw, graph_of, laid_out
from workflow_webui.graphs.layout import Layout
from workflow_webui.reading.health import health_of, workers_of
from workflow_webui.reading.overview import overview
from workflow_webui.rendering import render
from workflow_webui.ui import Ask, Ui
from workflow_webui.words import count

__all__ = ["home", "layout_of", "workflow", "workflows"]

_ROOM_FOR_COUNTS = 190.0
_LAYOUT_SECONDS = 86_400.0  # a definition is frozen


def home(ask: Ask) -> Response:
    """All workflows at a glance."""
    found = overview(ask)
    points = {each.name: ask.ui.lag_points.of(each.name) for each in found.workflows}
    return HTMLResponse(
        render(
            "overview.html",
            ask=ask,
            here="overview",
            found=found,
            bars=bars,
            shares=shares,
            lag_line=line,
            points=points,
            states=list(RunState),
            health=health_of(ask.ui),
            workers=workers_of(ask.ui),
        )
    )


def workflows(ask: Ask) -> Response:
    """The definitions that are at hand."""
    counted = Counter[str]()
    for (name, _, state), number in ask.ui.counts(RecordQuery()).items():
        counted[name] += number if state.is_live else 0
    return HTMLResponse(
        render(
            "workflows.html",
            ask=ask,
            here="graph",
            workflows=sorted(ask.ui.workflows.values(), key=lambda known: known.name),
            live=counted,
        )
    )


def workflow(ask: Ask) -> Response:
    """One workflow's graph, with how many runs are where."""
    name = ask.path["workflow"]
    if name not in ask.ui.workflows:
        raise NotThereError(f"the definition of {name!r} is not at hand here")
    definition = ask.ui.workflow(name)
    live, paused, ended = Counter[int](), Counter[int](), Counter[int]()
    for (_, status, state), number in ask.ui.counts(RecordQuery(workflow=name)).items():
        where = ended if state.is_finished else paused if state is RunState.PAUSED else live
        where[status] += number

    def look(number: int) -> NodeLook:
        told = [
            f"{count(live[number])} live" if live[number] else "",
            f"{count(paused[number])} paused" if paused[number] else "",
            f"{count(ended[number])} ended" if ended[number] else "",
        ]
        marks = ["busy"] if live[number] else []
        marks += ["paused"] if paused[number] else []
        link = ask.link("runs", workflow=name, status=str(number))
        return NodeLook(" · ".join(part for part in told if part) or "none", link, marks)

    told = f"Statuses of {name}, and what leads where"
    picture: Markup = draw(layout_of(ask.ui, name, _ROOM_FOR_COUNTS), told, look)
    return HTMLResponse(
        render(
            "workflow.html",
            ask=ask,
            here="graph",
            workflow=definition,
            graph=graph_of(definition),
            picture=picture,
            names=ask.ui.status_names(name),
        )
    )


def layout_of(ui: Ui, name: str, narrowest: float = 118.0) -> Layout:
    """Where everything goes: reckoned once, since a definition does not change."""
    definition = ui.workflow(name)
    return ui.remembered.get(
        ("layout", name, narrowest),
        _LAYOUT_SECONDS,
        lambda: laid_out(graph_of(definition), narrowest),
    )
