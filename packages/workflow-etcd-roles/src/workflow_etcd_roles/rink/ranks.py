"""How the leader ranks the members, so that as few roles as can be move."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

__all__ = ["next_ranks"]


def next_ranks(
    ranks: Mapping[str, int],
    joined: Mapping[str, datetime],
    *,
    now: datetime,
    wait: timedelta,
) -> tuple[dict[str, int], datetime | None]:
    """The ranks from now on, and when they may next change by time alone.

    The members of a cluster that has no ranks yet get them at once, in the order in which they
    joined. Later a newcomer takes the place of one who left; otherwise it waits for somebody to
    leave, and is then added. The places of those who left for good are filled from above.

    Args:
        ranks: as they were.
        joined: when each present member joined.
        now: the present, by the leader's clock.
        wait: how long a newcomer waits.
    """
    remaining = {name: rank for name, rank in ranks.items() if name in joined}
    left = sorted((name for name in ranks if name not in joined), key=lambda name: ranks[name])
    new = sorted((name for name in joined if name not in ranks), key=lambda n: (joined[n], n))
    replacing = dict(zip(new, (ranks[name] for name in left), strict=False))
    further = new[len(replacing) :]
    ripe = {name: joined[name] + wait for name in further}
    is_first = not remaining and not replacing
    added = [name for name in further if is_first or ripe[name] <= now]
    waiting = [ripe[name] for name in further if name not in added]

    size = len(remaining) + len(replacing) + len(added)
    keeping = {**remaining, **replacing}
    slots = {rank: name for name, rank in keeping.items() if rank < size}
    moving = [*added, *(name for name, rank in keeping.items() if rank >= size)]
    holes = [rank for rank in range(size) if rank not in slots]
    slots.update(zip(holes, moving, strict=True))
    return {name: rank for rank, name in sorted(slots.items())}, min(waiting, default=None)
