"""Who should have which role: evenly among those who want the same, moving as little as can be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

__all__ = ["Spreading"]


class Spreading:
    """What is right for each member: the same, whoever works it out.

    Roles that the same members want form a group, and are shared out within it: each member's share
    is the number of roles divided by that of members. Where that leaves a rest, those who hold most
    keep one more, so that nothing moves for its sake. Members that want different sets of roles
    thus never take from each other what the other needs to be even.

    Args:
        wanted: for each role the members that want it or hold it.
        held: for each role that is held, by whom.
    """

    def __init__(self, wanted: Mapping[str, Iterable[int]], held: Mapping[str, int]) -> None:
        self._held = held
        self._groups: dict[frozenset[int], list[str]] = defaultdict(list)
        for role, members in wanted.items():
            self._groups[frozenset(members)].append(role)
        self._room = {group: self._rooms(group) for group in self._groups}

    def take(self, member: int, free: Collection[str]) -> list[str]:
        """Which of the free roles the member should take: as many as its share has room for."""
        taken: list[str] = []
        for group, roles in self._groups.items():
            room = self._room[group].get(member, 0)
            if room > 0:
                fitting = [role for role in roles if role in free]
                taken += _first(member, fitting, room)
        return taken

    def give(self, member: int) -> list[str]:
        """Which roles the member should give up: as many as it holds beyond its share."""
        given: list[str] = []
        for group, roles in self._groups.items():
            room = self._room[group].get(member, 0)
            if room < 0:
                mine = [role for role in roles if self._held.get(role) == member]
                given += _first(member, mine, -room)
        return given

    def _rooms(self, group: frozenset[int]) -> Mapping[int, int]:
        """For each member its share less what it holds."""
        roles = self._groups[group]
        counts = Counter(self._held[role] for role in roles if role in self._held)
        each, rest = divmod(len(roles), len(group))
        # ranked by a role of the group: else one member would get the rest of every group
        lot = min(roles)
        order = sorted(group, key=lambda member: (-counts[member], _rank(member, lot)))
        return {
            member: each + (place < rest) - counts[member] for place, member in enumerate(order)
        }


def _first(member: int, roles: list[str], count: int) -> list[str]:
    """In an order of the member's own: several who take at once reach for different ones."""
    return sorted(roles, key=lambda role: _rank(member, role))[:count]


def _rank(member: int, role: str) -> bytes:
    """The same in every process: Python's own hash differs from one to the next."""
    return blake2b(f"{member}:{role}".encode(), digest_size=8).digest()
