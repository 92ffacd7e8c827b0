"""Going onward: a run whose step was committed here begins its next step without its event's way.

The event is on its way all the same, and drives the run if this process dies. It is only that who
has just written a run, and holds its shard, need not wait to be told of what it knows. So the next
version of the run is in hand at once, and its event, when it arrives, is one more receipt of it; if
it arrives when all is done, what was *settled* lately says so, and it is acked without a look-up.

A run goes onward where nothing but its step has to be done:

- in the same lane, through the receiver that still reads its shard: another process that holds the
  shard would work on the run side by side with this one;
- due now, and to a status without timers, which its reception may have yet to arm;
- where its lane is not crowded, or who arrives would wait for whole runs (`in_hand`);
- after a step that the committer has committed, or a worker for it: one with a transaction of its
  own commits by itself, and its run waits for its event;
- where the streamer's shards are roles: of a stream that balances its members itself nobody here
  knows who reads the next topic's part.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from workflow_core.engine.lane import Finished
from workflow_core.model import Event, RunState

__all__ = ["Settled", "next_event"]

_NOW = timedelta(0)
_MOST = 4_096  # events; more than one is behind only where much is in hand
_LONGEST = 1.0  # seconds; a server that has lost its last writes may deliver one again after it


def next_event(finished: Finished, at: datetime | None) -> Event | None:
    """The event that drives a run on, committed at `at`, if its lane may go onward with it."""
    write, lane = finished.write, finished.item.lane
    if at is None or write.record.state is not RunState.RUNNING or len(write.events) != 1:
        return None
    (filed,) = write.events
    event = filed.event
    if filed.delay > _NOW or not lane.may_go_onward(event):
        return None
    return event.replace(created_at=at)


class Settled:
    """What went onward and was settled before its event arrived. Under the window's lock."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, int, int], float] = {}

    def note(self, key: tuple[str, int, int], now: float) -> None:
        """This version of a run is done."""
        if len(self._since) >= _MOST:
            del self._since[next(iter(self._since))]
        self._since[key] = now

    def take(self, event: Event, now: float) -> bool:
        """Whether the event is of what is done; it is asked for once."""
        if not self._since:
            return False
        since = self._since.pop((event.run_id, event.version, event.status), None)
        return since is not None and now - since <= _LONGEST

    def forget(self) -> None:
        """An adapter does not answer: it may be another server, with less, when it does."""
        self._since.clear()
