"""Who should have which role: evenly among those who want the same, moving as little as can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b

__all__ = ["Spreading"]


class Spreading:
    """What is right for each member, the same whoever works it out.

    Roles that are wanted (or held) by the same members form a group. Within a group each member's
    share is the number of roles divided by that of members; where that leaves a rest, those who
    hold most keep one more. Which roles a member gives up of too many is decided by a hash.

    Args:
        wanted: for each role the members that ask for it or hold it.
        held: for each role that is held, by whom.
    """

    def __init__(self, wanted: Mapping[str, Iterable[str]], held: Mapping[str, str]) -> None:
        self._held = held
        self._groups: dict[frozenset[str], list[str]] = defaultdict(list)
        self._group_of: dict[str, frozenset[str]] = {}
        for role, members in wanted.items():
            group = frozenset(members)
            self._group_of[role] = group
            self._groups[group].append(role)
        self._counts = {
            group: Counter(held[role] for role in roles if role in held)
            for group, roles in self._groups.items()
        }
        self._shares = {group: self._share(group) for group in self._groups}

    def too_many(self, member: str) -> set[str]:
        """The roles that `member` should give up."""
        given_up: set[str] = set()
        for group, roles in self._groups.items():
            excess = self._counts[group][member] - self._shares[group].get(member, 0)
            if excess > 0:
                mine = [role for role in roles if self._held.get(role) == member]
                mine.sort(key=lambda role: _rank(member, role))
                given_up.update(mine[:excess])
        return given_up

    def has_room(self, member: str, role: str, taken: Iterable[str] = ()) -> bool:
        """Whether `member` holds less than its share of those like `role`.

        What it has just `taken` counts too: else it would take back all that it has given up.
        """
        group = self._group_of[role]
        more = sum(self._group_of.get(other) == group for other in taken)
        return self._counts[group][member] + more < self._shares[group].get(member, 0)

    def _share(self, group: frozenset[str]) -> Mapping[str, int]:
        roles = self._groups[group]
        counts = self._counts[group]
        each, rest = divmod(len(roles), len(group))
        # hashed with a role of the group: else the same member would get the rest of every group
        first = min(roles)
        order = sorted(group, key=lambda member: (-counts[member], _rank(member, first)))
        return {member: each + (place < rest) for place, member in enumerate(order)}


def _rank(member: str, role: str) -> bytes:
    """The same in every process: Python's own hash differs from one to the next."""
    return blake2b(f"{len(role)}:{role}{member}".encode(), digest_size=8).digest()
