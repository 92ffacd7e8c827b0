"""Who is at the browser, and what they may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias, runtime_checkable

from starlette.requests import HTTPConnection

__all__ = ["ALL_RIGHTS", "READ_ONLY", "Auth", "Authenticate", "Right", "User"]


class Right(StrEnum):
    """What a user may do; each for itself."""

    READ = "read"
    """See runs, counts, graphs and schedules; of errors their types alone."""
    ACT = "act"
    """Pause, resume, cancel, retry, move, trigger, call back, delete data; one run or many."""
    SEE_DATA = "see data"
    """See what runs carry: data, payloads, search attributes and the words of errors."""


READ_ONLY = frozenset({Right.READ})
ALL_RIGHTS = frozenset(Right)


@dataclass(frozen=True)
class User:
    """A user as the auth hook knows them.

    Attributes:
        name: goes into reasons, histories and the audit log.
        rights: what they may do.
    """

    name: str
    rights: frozenset[Right] = ALL_RIGHTS

    def may(self, right: Right) -> bool:
        """Whether they have this right."""
        return right in self.rights


Authenticate: TypeAlias = Callable[[HTTPConnection], "User | Awaitable[User | None] | None"]
"""An auth hook: the user of a request, or None. A plain function runs in a thread."""


@runtime_checkable
class Auth(Protocol):
    """An auth hook that also says how a browser is to ask for a name."""

    def user(self, connection: HTTPConnection, /) -> User | None:
        """The user of this request; None: nobody. Called in a thread; never raises."""
        ...

    @property
    def challenge(self) -> str:
        """The ``WWW-Authenticate`` header of a refusal; "" for none."""
        ...
