"""The live view of ``workflow run`` on a terminal: what is served, by whom, and how many runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from workflow_core import Engine, RecordQuery, RunState, Serving
from workflow_core.errors import WorkflowError

from workflow_ctl.output import plain
from workflow_ctl.records import state_told
from workflow_ctl.session import Session

__all__ = ["LiveView", "Row", "of_serving"]

Row = Sequence[object]

_EACH = 1.0  # seconds between two pictures
_COUNT_EACH = 5  # pictures between two counts, which cost the store something


class LiveView:
    """Draws until it is left; a context manager. Its thread is a daemon.

    Args:
        console: the terminal.
        session: for the names of statuses.
        workflows: what is served, by name.
        engine: counts the runs.
        columns: of the table of workers.
        rows: asked for each picture.
    """

    def __init__(
        self,
        console: Console,
        session: Session,
        workflows: Sequence[str],
        engine: Engine,
        columns: Sequence[str],
        rows: Callable[[], Sequence[Row]],
    ) -> None:
        self._session = session
        self._workflows = workflows
        self._engine = engine
        self._columns = columns
        self._rows = rows
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._left = threading.Event()
        self._counts: Mapping[tuple[str, int, RunState], int] = {}
        self._problem = ""
        self._pictures = 0
        self._thread = threading.Thread(target=self._draw, name="live view", daemon=True)

    def __enter__(self) -> Self:
        self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join(timeout=5)
        self._live.stop()

    def _draw(self) -> None:
        while not self._left.is_set():
            self._live.update(self.picture(), refresh=True)
            self._left.wait(_EACH)

    def picture(self) -> Group:
        """What is to be seen now."""
        if self._pictures % _COUNT_EACH == 0:
            self._count()
        self._pictures += 1
        title = Text(f"serving {', '.join(map(plain, self._workflows))}", style="bold")
        parts: list[Text | Table] = [
            title,
            _table(self._columns, self._rows()),
            _table(_COUNTED, self._counted()),
        ]
        if self._problem:
            parts.append(Text(plain(self._problem), style="red"))
        return Group(*parts)

    def _count(self) -> None:
        try:
            counts: dict[tuple[str, int, RunState], int] = {}
            for workflow in self._workflows:
                live = [state for state in RunState if state.is_live]
                query = RecordQuery(workflow=workflow, states=live)
                counts.update(self._engine.counts(query))
            self._counts, self._problem = counts, ""
        except WorkflowError as error:
            self._problem = str(error)

    def _counted(self) -> Sequence[Row]:
        return [
            (workflow, self._session.status_name(workflow, status), state_told(state), count)
            for (workflow, status, state), count in sorted(self._counts.items())
        ]


_COUNTED = ("workflow", "status", "state", "runs")


def of_serving(session: Session, serving: Serving) -> Callable[[], Sequence[Row]]:
    """The rows for what is served in this process: each step, and how late events are taken up."""

    def rows() -> Sequence[Row]:
        lags = serving.lag.lags()
        roles = len(serving.roles)
        return [("this process", f"{roles} roles", "")] + [
            (workflow, session.status_name(workflow, status), f"{_rounded(lag)} late")
            for (workflow, status), lag in sorted(lags.items())
        ]

    return rows


def _rounded(lag: timedelta) -> str:
    return f"{lag.total_seconds():.1f} s"


def _table(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table
