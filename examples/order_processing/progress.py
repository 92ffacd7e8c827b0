"""Shows how the job goes: a table that is redrawn on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping

from workflow_core import RunState

from order_processing.flow import Status

BAR = 40
LINE_EACH = 1.0  # seconds between two lines where nobody watches

Counts = Mapping[tuple[str, int, RunState], int]


class Progress:
    """Fed with the store's counts."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._begin = time.monotonic()
        self._watched = sys.stdout.isatty()
        self._lines = 0
        self._next_line = 0.0

    def show(self, counts: Counts, *, note: str = "", last: bool = False) -> None:
        """Draw where the runs are, and a word on why if they do not move."""
        if self._watched:
            self._redraw(counts, note)
        elif last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EACH
            print(self._line(counts, note), flush=True)

    def _redraw(self, counts: Counts, note: str) -> None:
        if self._lines:
            print(f"\x1b[{self._lines}F", end="")
        table = [*self._bars(counts), "", self._line(counts, note)]
        print("".join(f"\x1b[2K{line}\n" for line in table), end="", flush=True)
        self._lines = len(table)

    def _bars(self, counts: Counts) -> list[str]:
        widest = max(len(name) for name, _ in _groups(counts))
        return [
            f"  {name:<{widest}}  {'█' * round(BAR * count / self._total):<{BAR}} {count:>6,}"
            for name, count in _groups(counts)
        ]

    def _line(self, counts: Counts, note: str) -> str:
        seconds = time.monotonic() - self._begin
        words = f"{settled_runs(counts):,} of {self._total:,} orders settled"
        if not self._watched:
            words += "   " + ", ".join(
                f"{name} {count:,}" for name, count in _groups(counts) if count
            )
        return f"  {seconds:5.1f} s   {words}" + (f"   ({note})" if note else "")


def _groups(counts: Counts) -> list[tuple[str, int]]:
    groups = [
        (
            status.name.lower().replace("_", " "),
            sum(
                count
                for (_, number, state), count in counts.items()
                if number == status and state is not RunState.PAUSED
            ),
        )
        for status in Status
    ]
    paused = sum(count for (_, _, state), count in counts.items() if state is RunState.PAUSED)
    return [*groups, ("paused", paused)]


def settled_runs(counts: Counts) -> int:
    """Runs that have ended, or wait for a person."""
    return sum(
        count
        for (_, _, state), count in counts.items()
        if state.is_finished or state is RunState.PAUSED
    )
