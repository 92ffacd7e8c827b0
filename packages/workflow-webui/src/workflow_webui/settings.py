"""What can be set about the web UI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["MASKED", "UiSettings"]

MASKED = (
    "*password*",
    "*passwd*",
    "*secret*",
    "*token*",
    "*api_key*",
    "*apikey*",
    "*private_key*",
    "*credential*",
    "authorization",
    "card_number",
    "cvv",
    "iban",
    "ssn",
)
"""Fields of a run's data that nobody is shown, if nothing else is said."""

_SHORTEST_SECRET = 32


@dataclass(frozen=True, kw_only=True)
class UiSettings:
    """How the web UI behaves; every value has a default that suits most.

    Attributes:
        title: at the top of each page, such as the system's name.
        masked: names of fields whose values are never shown, at any depth of the data, case
            ignored; ``*`` stands for anything. A name with dots counts from the top:
            ``customer.address.*``.
        refresh: how often what several users look at is asked for anew, however many look; what one
            sees may be three times as old.
        threads: how many calls of the store run at once; less than the store's pool of connections.
        max_body: bytes that a request may bring.
        max_watchers: open pages that are kept fresh by events; more of them ask by themselves.
        secret: signs cookies and forms; the same in all processes of one app, 32 characters or
            more. "": a new one at each start, which is enough for one process.
        secure_cookies: cookies for https alone; None: where the request came by https.
    """

    title: str = "Workflow"
    masked: Sequence[str] = MASKED
    refresh: timedelta = timedelta(seconds=2)
    threads: int = 6
    max_body: int = 1024 * 1024
    max_watchers: int = 200
    secret: str = ""
    secure_cookies: bool | None = None

    def __post_init__(self) -> None:
        if self.threads < 1 or self.max_body < 1 or self.max_watchers < 0:
            raise ValueError("threads and max_body are 1 or more, max_watchers 0 or more")
        if self.refresh <= timedelta(0):
            raise ValueError("refresh is to be greater than zero")
        if 0 < len(self.secret) < _SHORTEST_SECRET:
            raise ValueError(
                f"a secret has {_SHORTEST_SECRET} characters or more: secrets.token_urlsafe()"
                " makes one"
            )

    def __repr__(self) -> str:
        return f"<UiSettings of {self.title!r}>"  # the secret is in none of our logs
