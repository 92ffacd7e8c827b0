"""How many runs were begun and ended, five minutes at a time: counted by the store, and kept.

What is past changes no more, so of twelve bars eleven are remembered; each look asks for the
newest one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from workflow_core import RecordQuery, RunState

from workflow_webui.ui import Ui

__all__ = ["Bar", "Throughput", "throughput"]

BARS = 12
WIDTH = timedelta(minutes=5)
_KEPT = timedelta(hours=2).total_seconds()
_MOMENT = timedelta(microseconds=1)
_ENDED = [state for state in RunState if state.is_finished]


@dataclass(frozen=True)
class Bar:
    """Five minutes."""

    begin: datetime
    begun: int
    ended: int


@dataclass(frozen=True)
class Throughput:
    """The last hour, oldest first."""

    bars: Sequence[Bar]

    @property
    def highest(self) -> int:
        """The highest number in any bar."""
        return max((max(bar.begun, bar.ended) for bar in self.bars), default=0)

    @property
    def begun(self) -> int:
        """In all of it."""
        return sum(bar.begun for bar in self.bars)

    @property
    def ended(self) -> int:
        """In all of it."""
        return sum(bar.ended for bar in self.bars)


def throughput(ui: Ui, workflow: str, now: datetime) -> Throughput:
    """Of one workflow; `now` is the store's present.

    Runs whose data was deleted, or that were purged, since then do not count as they did.
    """
    seconds = int(WIDTH.total_seconds())
    newest = datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)
    bars = [_bar(ui, workflow, newest - WIDTH * back, now) for back in reversed(range(BARS))]
    return Throughput(bars)


def _bar(ui: Ui, workflow: str, begin: datetime, now: datetime) -> Bar:
    # a write that began before the bar was over may be seen a little later
    is_past = begin + WIDTH + timedelta(seconds=30) < now
    seconds = _KEPT if is_past else ui.settings.refresh.total_seconds()

    def ask() -> Bar:
        after, before = begin - _MOMENT, begin + WIDTH
        begun = RecordQuery(workflow=workflow, created_after=after, created_before=before)
        ended = RecordQuery(
            workflow=workflow, states=_ENDED, updated_after=after, updated_before=before
        )
        counts = ui.engine.counts
        return Bar(begin, sum(counts(begun).values()), sum(counts(ended).values()))

    return ui.remembered.get(("bar", workflow, begin), seconds, ask)
