"""Gathering: what several threads want to commit at once is committed together.

A commit waits for the disk, and one that holds ten writes waits no longer than one that holds one.
So whoever comes while a commit is under way waits for its end and then goes along with all others
that wait. The first of them commits for all; nobody waits for others to come.

Nobody suffers for another either. A commit may be stuck, behind a row that somebody else's open
transaction holds: who has waited for it for a moment leads without it. And where a commit of
several fails, each of them commits alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from workflow_core.errors import AdapterUnavailableError
from workflow_core.ports import Outcome, Write

__all__ = ["Gathering"]

Commit: TypeAlias = Callable[[Sequence[Write]], Sequence[Outcome]]

_MOST = 500  # writes in one commit, unless one caller brings more
_PATIENCE = 0.05  # seconds to wait for a commit that is under way


class _Party:
    """One caller's writes, and what became of them."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self.writes = writes
        self.outcomes: Sequence[Outcome] | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.goes_alone = False
        self.called = threading.Event()

    @property
    def is_settled(self) -> bool:
        return self.outcomes is not None or self.error is not None or self.goes_alone


class Gathering:
    """Any thread.

    Args:
        commit: stores each write for itself, outcomes in order.
        patience: seconds to wait for a commit that is under way.
    """

    def __init__(self, commit: Commit, *, patience: float = _PATIENCE) -> None:
        self._commit = commit
        self._patience = patience
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Party] = deque()
        self._is_led = False

    def forked(self) -> None:
        """In a forked child: whoever led or waited stayed with the parent."""
        self._start()

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Outcomes in order, once they are durable.

        Raises:
            AdapterUnavailableError: nobody knows what was stored: commit the same writes again.
        """
        mine = _Party(writes)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._is_led = not self._is_led, True
        if not mine.leads:
            self._await(mine)
        if mine.leads:
            self._lead(mine)
        if mine.goes_alone:
            return self._commit(writes)
        if mine.error is not None:
            raise mine.error
        assert mine.outcomes is not None
        return mine.outcomes

    def _await(self, mine: _Party) -> None:
        """Until it is settled or is to lead."""
        if mine.called.wait(self._patience):
            return
        with self._lock:
            mine.leads = mine.leads or mine in self._waiting
        if not mine.leads:
            mine.called.wait()

    def _lead(self, mine: _Party) -> None:
        """Commit for all that go along with `mine`; then the next leads."""
        parties = self._take(mine)
        try:
            self._settle(parties)
        except BaseException:
            for party in parties:
                if party is not mine and not party.is_settled:
                    party.error = AdapterUnavailableError(
                        "the commit that was to take this along was interrupted"
                    )
            raise
        finally:
            self._hand_on()
            for party in parties:
                party.called.set()

    def _take(self, mine: _Party) -> list[_Party]:
        """Who goes along with `mine`: nobody who leads, each run once, and not too many."""
        parties = [mine]
        run_ids = {write.record.run_id for write in mine.writes}
        left: deque[_Party] = deque()
        with self._lock:
            self._waiting.remove(mine)
            for party in self._waiting:
                theirs = {write.record.run_id for write in party.writes}
                fits = len(run_ids) + len(theirs) <= _MOST and run_ids.isdisjoint(theirs)
                if party.leads or not fits:
                    left.append(party)
                else:
                    run_ids |= theirs
                    parties.append(party)
            self._waiting = left
        return parties

    def _settle(self, parties: Sequence[_Party]) -> None:
        try:
            outcomes = self._commit([write for party in parties for write in party.writes])
        except Exception as error:
            for party in parties:
                party.goes_alone = len(parties) > 1
                party.error = error
            return
        begin = 0
        for party in parties:
            end = begin + len(party.writes)
            party.outcomes = outcomes[begin:end]
            begin = end

    def _hand_on(self) -> None:
        with self._lock:
            following = next((party for party in self._waiting if not party.leads), None)
            if following is None:
                self._is_led = False
                return
            following.leads = True
        following.called.set()
