"""The timeout store.

**What is kept of a closed timer.** Nothing of the timer, and its name among its run's closed keys:
a late create, by an event that came twice or by the reconciler, must not arm it again. That memory
ends when the engine reports the run as ended (`forget`). Should the report never come, it ends by
itself, `remember` after anybody last tried to arm one of the run's closed timers: while the run
stands at the status, the reconciler does that every few minutes and each try starts the time anew,
so what is needed does not expire and what nobody asks for does.

**Whose clock.** The server's, read inside the scripts; they replicate by their effects, so a
replica and the append-only file hold times and not calculations. A worker's clock is never asked.

**Repeating.** See `workflow_redis_timeout.caller`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from datetime import timedelta
from math import isqrt
from typing import Any

from workflow_core.errors import ConfigurationError, InputError
from workflow_core.model import Page, Timeout
from workflow_core.ports import AdapterContext, Clock, TimeoutStore

from workflow_redis_timeout.address import Address, Topology
from workflow_redis_timeout.buckets import Bucket, Buckets, layout_key
from workflow_redis_timeout.caller import Caller
from workflow_redis_timeout.connecting import open_link
from workflow_redis_timeout.failures import ADAPTER
from workflow_redis_timeout.keeping import Keeping
from workflow_redis_timeout.links import Call
from workflow_redis_timeout.rows import (
    EPOCH,
    MICROSECOND,
    Row,
    as_bytes,
    due_first,
    item_of,
    keys_of,
    microseconds,
    not_a_text,
    packed,
    rows_of,
    size_of,
    sized,
    timeout_of,
    up_to,
)
from workflow_redis_timeout.scripts import (
    CLOSE,
    CLOSED,
    CREATE,
    DUE,
    FORGET,
    NEXT,
    NOW,
    PAGE,
    PARK,
    RESCHEDULE,
    Script,
)
from workflow_redis_timeout.settings import RedisSettings

__all__ = ["RedisTimeoutStore"]

logger = logging.getLogger(__name__)

_BUCKETS_OF_A_CLUSTER = 16
_PAGE = "key:"
_RUNS_AT_ONCE = 500  # for scripts that look into each run; they hold up all other clients
_FROM_THE_START = b"\xff"  # for the scripts; in no text, hence no key


class RedisTimeoutStore(TimeoutStore):
    """Timers in Redis. Each method does what `TimeoutStore` says; any thread.

    Opening asks the servers what they keep and warns where that is less than one would expect.

    Args:
        settings: where Redis is, and how to treat it.
        namespace: sets the keys apart from those of other namespaces.
        clock: stamps and compares; None: the server's own.

    Raises:
        ConfigurationError: the URL, the namespace or the number of buckets cannot be used, or the
            server is too old.
        AdapterUnavailableError: no answer.
        AdapterError: the user is not let in.
    """

    def __init__(
        self, settings: RedisSettings, *, namespace: str = "", clock: Clock | None = None
    ) -> None:
        self._address = Address.parse(settings.url)
        self._clock = clock
        self._layout = layout_key(namespace)
        self._remember = settings.remember // MICROSECOND
        self._repeats = 2 * (settings.retry_for + settings.answer_timeout) // MICROSECOND
        self._caller = Caller(
            lambda: open_link(self._address, settings), retry_for=settings.retry_for
        )
        try:
            keepings = self._look_around()
            count = self._agree_on_buckets(settings.buckets)
        except BaseException:
            self.close()
            raise
        self._buckets = Buckets(namespace, count)
        for warning in dict.fromkeys(each for keeping in keepings for each in keeping.warnings()):
            logger.warning(warning)

    @classmethod
    def from_config(cls, settings: RedisSettings, context: AdapterContext) -> RedisTimeoutStore:
        """The entry point."""
        return cls(settings, namespace=context.namespace, clock=context.clock)

    def check_health(self) -> str:
        """Asks each server for its version and what it keeps."""
        keepings = self._look_around()
        texts = dict.fromkeys(str(keeping) for keeping in keepings)
        servers = f" ({len(keepings)} primaries)" if len(keepings) > 1 else ""
        return "; ".join(texts) + servers

    def close(self) -> None:
        """Close all connections. Twice is harmless."""
        self._caller.close()

    # -- writing -------------------------------------------------------------------------------

    def create(self, timeout: Timeout) -> None:
        """As `create_many` of one."""
        self.create_many([timeout])

    def create_many(self, timeouts: Sequence[Timeout]) -> None:
        """One round trip to each server, each bucket's timers in scripts of at most 500."""
        doing = "arming timers"
        items = [(timeout.key, size_of(timeout), item_of(timeout)) for timeout in timeouts]
        self._caller.ask(
            [
                self._call(CREATE, bucket, self._remember, packed(part, doing))
                for bucket, _, part in self._parts(items, doing)
            ],
            doing=doing,
        )

    def complete(self, key: str) -> bool:
        """As `complete_many` of one."""
        return self.complete_many([key])[0]

    def complete_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """Round trips as `create_many`. An answer that was lost on the way is asked for again."""
        return self._close_many(keys, "completing timers")

    def cancel(self, key: str) -> bool:
        """As `cancel_many` of one."""
        return self.cancel_many([key])[0]

    def cancel_many(self, keys: Sequence[str]) -> Sequence[bool]:
        """As `complete_many`: a timer is closed the same way, whatever for."""
        return self._close_many(keys, "cancelling timers")

    def park(self, key: str) -> None:
        """As `park_many` of one."""
        self.park_many([key])

    def park_many(self, keys: Sequence[str]) -> None:
        """Round trips as `create_many`."""
        doing = "parking timers"
        self._caller.ask(
            [
                self._call(PARK, bucket, packed(part, doing))
                for bucket, _, part in self._parts(sized(keys), doing)
            ],
            doing=doing,
        )

    def reschedule(
        self, key: str, delay: timedelta, *, attempts: int, error: str, repeat: int = 0
    ) -> None:
        """As `reschedule_many` of one."""
        self._reschedule([(key, microseconds(delay), attempts, error, repeat)])

    def reschedule_many(self, timeouts: Sequence[Timeout]) -> None:
        """Round trips as `create_many`; parked timers stay parked."""
        self._reschedule(
            [(t.key, microseconds(t.delay), t.attempts, t.error, t.repeat) for t in timeouts]
        )

    def forget(self, run_ids: Sequence[str]) -> None:
        """One round trip to each server, all buckets asked: a run's timers may be in any."""
        if run_ids:
            doing = "forgetting timers"
            self._caller.ask(self._everywhere(FORGET, packed(run_ids, doing)), doing=doing)

    # -- reading -------------------------------------------------------------------------------

    def list_valid(self, workflows: Sequence[str], *, limit: int) -> Sequence[Timeout]:
        """One round trip to each server; from each bucket about its share of `limit`, not all."""
        return [timeout_of(row) for row, _ in self._due(workflows, timedelta(0), limit)]

    def list_soon(
        self, workflows: Sequence[str], *, within: timedelta, limit: int
    ) -> Sequence[Timeout]:
        """As `list_valid`; how long until then is told by each server once it has listed."""
        return [
            timeout_of(row).replace(delay=timedelta(0, 0, due_first(row)[0] - present))
            for row, present in self._due(workflows, within, limit)
        ]

    def _due(
        self, workflows: Sequence[str], within: timedelta, limit: int
    ) -> Sequence[tuple[Row, int]]:
        """What is due so soon, and the present of its server."""
        doing = "looking for due timers"
        names = packed(list(dict.fromkeys(workflows)), doing)
        share = self._share(limit)
        while True:
            calls = self._everywhere(DUE, share, names, microseconds(within))
            answers = self._caller.ask([*calls, *self._everywhere(NOW)], doing=doing)
            # asked behind: to list a thousand takes the server some milliseconds
            listed, presents = answers[: len(calls)], answers[len(calls) :]
            parts = [(rows_of(rows), now) for rows, now in zip(listed, presents, strict=True)]
            found = sorted(
                ((row, present) for part, present in parts for row in part),
                key=lambda each: due_first(each[0]),
            )
            cut = [due_first(part[-1]) for part, _ in parts if part and len(part) == share]
            # beyond the last row of a part that was cut off, an earlier one may be missing
            sure = (
                limit if share == limit or not cut else up_to(min(cut), [row for row, _ in found])
            )
            if sure >= limit:
                return found[:limit]
            share = min(2 * share, limit)

    def list_timeouts(
        self, workflow: str, *, after: str | None = None, limit: int = 100
    ) -> Page[Timeout]:
        """One round trip to each server."""
        if after is not None and not after.startswith(_PAGE):
            raise InputError(f"{after!r} is no page of this timeout store", adapter=ADAPTER)
        doing = "listing timers"
        start = _FROM_THE_START if after is None else as_bytes(after.removeprefix(_PAGE), doing)
        answers = self._caller.ask(
            self._everywhere(PAGE, limit + 1, as_bytes(workflow, doing), start),
            doing=doing,
        )
        found = sorted(row for answer in answers for row in rows_of(answer))
        items = [timeout_of(row) for row in found[:limit]]
        return Page(items=items, next=f"{_PAGE}{items[-1].key}" if len(found) > limit else None)

    def of_run(self, workflow: str, run_id: str) -> Sequence[Timeout]:
        """By order of key, which begins with the run's id; one round trip to each server."""
        page = self.list_timeouts(workflow, after=f"{_PAGE}{run_id}/")  # no status has so many
        return [timeout for timeout in page.items if timeout.key.startswith(f"{run_id}/")]

    def closed_keys(self, run_ids: Sequence[str]) -> Sequence[str]:
        """In parts of 500 runs, each one round trip to each server."""
        doing = "looking for closed timers"
        found: list[str] = []
        for first in range(0, len(run_ids), _RUNS_AT_ONCE):
            part = packed(list(run_ids[first : first + _RUNS_AT_ONCE]), doing)
            for answer in self._caller.ask(self._everywhere(CLOSED, part), doing=doing):
                found += keys_of(answer)
        return found

    def next_due(self, workflows: Sequence[str]) -> timedelta | None:
        """Exact. One round trip to each server."""
        doing = "looking for the next timer"
        names = packed(list(dict.fromkeys(workflows)), doing)
        answers = self._caller.ask(self._everywhere(NEXT, names), doing=doing)
        waits = [answer for answer in answers if answer is not None]
        return timedelta(microseconds=min(waits)) if waits else None

    # -- how -----------------------------------------------------------------------------------

    def _reschedule(self, changes: Sequence[tuple[str, int, int, str, int]]) -> None:
        doing = "rescheduling timers"
        items = [(change[0], len(change[0]) + len(change[3]), change) for change in changes]
        self._caller.ask(
            [
                self._call(RESCHEDULE, bucket, packed(part, doing))
                for bucket, _, part in self._parts(items, doing)
            ],
            doing=doing,
        )

    def _close_many(self, keys: Sequence[str], doing: str) -> Sequence[bool]:
        parts = list(self._parts(sized(keys), doing))
        calls = [
            self._call(
                CLOSE,
                bucket,
                self._remember,
                secrets.token_hex(8),
                self._repeats,
                packed(part, doing),
            )
            for bucket, _, part in parts
        ]
        answers = [False] * len(keys)
        for (_, places, _), answer in zip(parts, self._caller.ask(calls, doing=doing), strict=True):
            for place, is_mine in zip(places, answer, strict=True):
                answers[place] = is_mine == ord("1")
        return answers

    def _parts(
        self, items: Sequence[tuple[str, int, Any]], doing: str
    ) -> Sequence[tuple[Bucket, Sequence[int], Sequence[Any]]]:
        try:
            return list(self._buckets.parts(items))
        except UnicodeEncodeError as error:
            raise not_a_text(doing) from error

    def _everywhere(self, script: Script, *arguments: str | bytes | int) -> Sequence[Call]:
        return [self._call(script, bucket, *arguments) for bucket in self._buckets.all]

    def _call(self, script: Script, bucket: Bucket, *arguments: str | bytes | int) -> Call:
        now = "" if self._clock is None else str((self._clock.now() - EPOCH) // MICROSECOND)
        return Call(script, bucket, (now, *arguments))

    def _share(self, limit: int) -> int:
        """How much of `limit` to expect in one bucket, with what chance may add."""
        count = len(self._buckets.all)
        if count == 1:
            return limit
        fair = limit // count + 1
        return min(limit, fair + 4 * isqrt(fair) + 1)

    # -- at start ------------------------------------------------------------------------------

    def _look_around(self) -> Sequence[Keeping]:
        keepings = self._caller.direct(
            lambda link: [Keeping.of(server) for server in link.servers()],
            doing="asking Redis what it is",
        )
        is_cluster = self._address.topology is Topology.CLUSTER
        for keeping in keepings:
            keeping.refuse_too_old()
            if keeping.cluster and not is_cluster:
                raise ConfigurationError(
                    "the URL leads to one node of a Redis Cluster",
                    adapter=ADAPTER,
                    hint="Begin it with redis+cluster:// or rediss+cluster://",
                )
        return keepings

    def _agree_on_buckets(self, wanted: int | None) -> int:
        """The number of buckets, which the first process of the namespace decides for all."""
        usual = _BUCKETS_OF_A_CLUSTER if self._address.topology is Topology.CLUSTER else 1

        count = self._caller.direct(
            lambda link: link.settle(self._layout, wanted or usual),
            doing="asking Redis how timers are divided",
        )
        if wanted is not None and wanted != count:
            raise ConfigurationError(
                f"buckets is {wanted}, but this namespace's timers are divided into {count}",
                adapter=ADAPTER,
                hint="Leave it out, or begin in another namespace: the reconciler arms all timers"
                " there",
            )
        return count
