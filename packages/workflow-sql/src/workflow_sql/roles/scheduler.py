"""The role scheduler."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from workflow_core.errors import AdapterError, ClosedError
from workflow_core.ports import (
    AdapterContext,
    Capability,
    Lease,
    RoleScheduler,
    SystemClock,
    in_forked_child,
)

from workflow_sql.database import Database, Writing
from workflow_sql.roles.book import Book, Ledger
from workflow_sql.roles.session import Lost, Session
from workflow_sql.settings import SqlSettings

__all__ = ["SqlRoleScheduler"]

logger = logging.getLogger(__name__)

_Changes: TypeAlias = tuple[int, int]  # the number of the epoch, and of changes of roles

_AFTER_FAILURE = 1.0  # seconds until the next try to renew
_CALM = 0.1  # seconds; one look for all changes within, when many roles change hands
_INJECTED_CLOCK_POLL = 0.05  # seconds; a clock that a test moves wakes nobody


class SqlRoleScheduler(RoleScheduler):
    """Roles in a table. Each method does what `RoleScheduler` says; any thread.

    All roles of a process hang on one lease, renewed in one statement each third of its time by a
    thread of its own. A process that is killed loses its roles when the lease has run out.

    Args:
        database: where.
        instance: this process among its peers.
        lease: how long after its last sign of life a process still counts as holder.
    """

    def __init__(
        self, database: Database, *, instance: str, lease: timedelta = timedelta(seconds=15)
    ) -> None:
        self.database = database
        self._instance = instance
        self._lease = lease
        self._ledger = Ledger(database, lease)
        self._renews_in_time = database.clock is None or isinstance(database.clock, SystemClock)
        self._longest_wait = threading.TIMEOUT_MAX if self._renews_in_time else _INJECTED_CLOCK_POLL
        self._start()
        in_forked_child(self._forked)

    def _start(self) -> None:
        self._lock = threading.RLock()  # of all below
        self._closed = threading.Event()
        self._session: Session | None = None
        self._own_sessions: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._to_give_up: list[Lease] = []
        self._keeper: threading.Thread | None = None
        # the number of changes when it was last looked for roles to take, and for recalled ones
        self._looked: _Changes | None = None
        self._judged: _Changes | None = None
        self._look_again: int | None = None
        self._wanted: frozenset[str] = frozenset()
        self._asked = False  # since the last renewal
        self._waiting = False

    @classmethod
    def from_config(cls, settings: SqlSettings, context: AdapterContext) -> SqlRoleScheduler:
        """The entry point."""
        return cls(
            Database.shared(settings, context),
            instance=context.instance,
            lease=settings.role_lease,
        )

    @property
    def capabilities(self) -> frozenset[Capability]:
        """A blocked ``acquire`` wakes."""
        return frozenset({Capability.WAKES})

    def check_health(self) -> str:
        """The database's and the schema's version."""
        return self.database.check_health()

    # -- asking --------------------------------------------------------------------------------

    def try_acquire(self, role: str) -> Lease | None:
        """A read while the role is held, else one transaction."""
        with self._lock:
            self._check_open()
            with self.database.reading("looking for a free role", urgent=True) as cursor:
                if self._ledger.read(cursor, self.database.now()).holder(role) is not None:
                    return None
            with self.database.writing("taking a role", urgent=True) as writing:
                book, session = self._entered(writing)
                granted = []
                if book.holder(role) is None:
                    granted = [self._grant(book, session, role)]
                    self._ledger.grant(writing, session.id, granted)
                    self._ledger.tell(writing)
            return self._keep(granted)[0] if granted else None

    def acquire(self, roles: Sequence[str], timeout: timedelta) -> Sequence[Lease]:
        """All that are free in one transaction; at rest no statement is made."""
        end = time.monotonic() + timeout.total_seconds()
        self._check_open()
        self.database.watch.look(timeout.total_seconds())
        wanted = frozenset(roles)
        self._waiting = True
        try:
            while True:
                self._check_open()
                with self._lock:
                    self._check_open()
                    leases = self._take(wanted)
                    pause = self._until_next_look()
                rest = end - time.monotonic()
                if leases or rest <= 0:
                    return leases
                self.database.watch.wait(
                    lambda: self._is_news_since(self._looked), min(rest, pause, self._longest_wait)
                )
        finally:
            self._waiting = False

    def holders(self, roles: Sequence[str]) -> Mapping[str, str]:
        """Two statements, however many roles."""
        with self.database.reading("looking for holders") as cursor:
            book = self._ledger.read(cursor, self.database.now())
        held = ((role, book.holder(role)) for role in roles)
        return {role: book.instance(holder) for role, holder in held if holder is not None}

    # -- keeping -------------------------------------------------------------------------------

    def renew(self) -> None:
        """Renew the lease now, and give up what could not be given up before.

        A thread does it in time. Where the database has been given a clock of another kind, only
        this and `acquire` do, so that nothing happens behind the back of whoever moves the clock.
        When it is too late, all leases are lost.

        Raises:
            AdapterUnavailableError: no answer; the leases end when their time is up.
        """
        with self._lock:
            session = self._session
            if session is None or self._closed.is_set():
                return
            if session.rest <= 0:
                self._lose(session)
                return
            began = self.database.monotonic()
            kept = self._ledger.renew(session.id, asking=self._asked or self._waiting)
            self._asked = False
            if kept:
                session.renewed(began)
                self._give_up_later_ones(session)
            else:
                self._lose(session)

    def close(self) -> None:
        """Resign: all roles are free at once."""
        if self._closed.is_set():
            return
        self._closed.set()
        self.database.watch.wake()
        with self._lock:
            session = self._session
            if session is None:
                return
            self._lose(session)
            try:
                with self.database.writing("resigning from all roles", urgent=True) as writing:
                    self._ledger.lock(writing)
                    self._ledger.leave(writing, session.id)
                    self._ledger.tell(writing)
            except AdapterError as error:
                logger.warning("roles are free only when their lease has run out: %s", error)

    # -- taking --------------------------------------------------------------------------------

    def _take(self, wanted: frozenset[str]) -> list[Lease]:
        """Take what is free, make known what is wanted, note what is recalled."""
        self._asked = True
        self._renew_if_due()
        changes = self._changes()
        if not self._is_time_to_look(changes) and wanted == self._wanted:
            return []
        with self.database.reading("looking for free roles", urgent=True) as cursor:
            book = self._ledger.read(cursor, self.database.now())
        leases: list[Lease] = []
        if self._must_write(book, wanted):
            with self.database.writing("taking roles", urgent=True) as writing:
                book, session = self._entered(writing)
                wish_is_new = book.wanted_by(session.id) != wanted
                if wish_is_new:
                    self._ledger.wish(writing, session.id, wanted)
                    book = self._ledger.read(writing.cursor, writing.now)
                leases = [
                    self._grant(book, session, role)
                    for role in book.takeable(session.id, wanted, self._known_held())
                ]
                self._ledger.grant(writing, session.id, leases)
                if wish_is_new or leases:
                    self._ledger.tell(writing)
                    book = self._ledger.read(writing.cursor, writing.now)
            self._keep(leases)
        self._wanted = wanted
        self._looked = changes
        self._note(book, changes)
        return leases

    def _must_write(self, book: Book, wanted: frozenset[str]) -> bool:
        session = self._session
        if session is None or not book.is_live(session.id):
            return bool(wanted)
        return book.wanted_by(session.id) != wanted or bool(
            book.takeable(session.id, wanted, self._known_held())
        )

    def _known_held(self) -> set[str]:
        """What this process knows to hold: a grant whose answer was lost is none, but free."""
        return {*self._leases, *(lease.role for lease in self._to_give_up)}

    def _entered(self, writing: Writing) -> tuple[Book, Session]:
        """The book, with this process in it."""
        self._ledger.lock(writing)
        book = self._ledger.read(writing.cursor, writing.now)
        session = self._session
        if session is not None and book.is_live(session.id) and session.rest > 0:
            return book, session
        if session is not None:
            self._lose(session)
        session = Session(
            self._lease.total_seconds(), self.database.monotonic, self.database.monotonic()
        )
        self._ledger.enter(writing, session.id, self._instance)
        self._session = session
        self._own_sessions.add(session.id)
        return self._ledger.read(writing.cursor, writing.now), session

    def _grant(self, book: Book, session: Session, role: str) -> Lease:
        token = book.next_token(role)
        last = book.abandoned_by(role)
        lease = Lease(
            role,
            token,
            release=partial(self._release, role),
            # a process that overslept and finds its own role free has not vanished
            suspect=last is not None and last not in self._own_sessions,
        )
        lease.lost = Lost(session, self._longest_wait)
        return lease

    def _keep(self, leases: list[Lease]) -> list[Lease]:
        """The grants are committed."""
        self._leases.update((lease.role, lease) for lease in leases)
        if self._keeper is None:
            self._keeper = threading.Thread(
                target=self._keep_renewing, name="workflow-sql-roles", daemon=True
            )
            self._keeper.start()
        return leases

    # -- giving up -----------------------------------------------------------------------------

    def _release(self, role: str) -> None:
        with self._lock:
            lease = self._leases.pop(role, None)
            session = self._session
            if lease is None or session is None:
                return  # lost before
            try:
                with self.database.writing("giving up a role", urgent=True) as writing:
                    self._ledger.lock(writing)
                    self._give_up(writing, session, lease)
            except AdapterError as error:
                self._to_give_up.append(lease)
                logger.warning("role %s is given up a little later: %s", role, error)

    def _give_up_later_ones(self, session: Session) -> None:
        """What could not be given up at its time."""
        given_up = list(self._to_give_up)
        if not given_up:
            return
        with self.database.writing("giving up roles", urgent=True) as writing:
            self._ledger.lock(writing)
            for lease in given_up:
                self._give_up(writing, session, lease)
        del self._to_give_up[: len(given_up)]

    def _give_up(self, writing: Writing, session: Session, lease: Lease) -> None:
        self._ledger.give_up(
            writing, lease.role, session.id, lease.token, for_others=lease.recalled.is_set()
        )
        self._ledger.tell(writing)

    def _lose(self, session: Session) -> None:
        """All leases of the session are over."""
        session.ended()
        for lease in self._leases.values():
            lease.lost.set()
        self._leases.clear()
        self._to_give_up.clear()
        self._session = None
        self._judged = None

    # -- noticing ------------------------------------------------------------------------------

    def _changes(self) -> _Changes:
        """Differs from the answer before if roles may be another's."""
        epoch = self.database.epoch  # first: should it end meanwhile, that is news
        return epoch, self.database.watch.refresh().role_changes

    def _is_time_to_look(self, changes: _Changes) -> bool:
        if self._session is None or changes != self._looked:
            return True
        return self._look_again is not None and self.database.now() >= self._look_again

    def _is_news_since(self, changes: _Changes | None) -> bool:
        now = self.database.epoch, self.database.watch.marks.role_changes
        return now != changes or self._closed.is_set()

    def _until_next_look(self) -> float:
        if self._look_again is None:
            return threading.TIMEOUT_MAX
        return max((self._look_again - self.database.now()) / 1e6, 0.001)

    def _note(self, book: Book, changes: _Changes) -> None:
        """What the book says of this process."""
        self._judged = changes
        self._look_again = book.next_moment
        if self._session is not None:
            for role in book.not_granted(self._session.id, self._leases):
                logger.warning("role %s is lost: the database lacks that it was taken", role)
                self._leases.pop(role).lost.set()
            for role in book.recalled(self._session.id):
                if role in self._leases:
                    self._leases[role].recalled.set()

    def _keep_renewing(self) -> None:
        while not self._closed.is_set():
            session = self._session
            renew_in = self._lease.total_seconds()
            if session is not None and self._renews_in_time:
                renew_in = session.renew_in
            self.database.watch.wait(
                lambda: self._is_news_since(self._judged),
                max(min(renew_in, self._longest_wait), 0),
            )
            try:
                if self._upkeep():
                    self._closed.wait(_CALM)
            except ClosedError:
                return
            except AdapterError as error:
                logger.warning("the roles' lease could not be renewed yet: %s", error)
                self._closed.wait(_AFTER_FAILURE)

    def _upkeep(self) -> bool:
        """Whether all roles were looked at."""
        with self._lock:
            if self._renews_in_time:
                self._renew_if_due()
            changes = self._changes()
            if changes != self._judged:
                with self.database.reading("looking for recalled roles", urgent=True) as cursor:
                    self._note(self._ledger.read(cursor, self.database.now()), changes)
                return True
        return False

    def _renew_if_due(self) -> None:
        if self._session is not None and self._session.renew_in <= 0:
            self.renew()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ClosedError("the role scheduler was closed", adapter="sql")

    def _forked(self) -> None:
        """The session is the parent's; what the child inherited of it is lost to the child."""
        session = self._session
        leases = list(self._leases.values())
        self._start()
        if session is not None:
            session.ended()
        for lease in leases:
            lease.lost.set()
