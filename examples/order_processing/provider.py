"""The payment provider: the outside world of the example, with a ledger of its own in a file.

It keeps what real ones promise: asked again with the same idempotency key, it answers the same
receipt and takes no more money. And it fails like real ones: a "slow" card's first answer is lost
*after* the money was taken, a "broken" card's bank never answers.
"""

import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path


class CardRefusedError(Exception):
    """The card's bank says no, for good."""


class PaymentProvider(AbstractContextManager["PaymentProvider"]):
    """Any thread may call it."""

    def __init__(self, ledger: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(ledger, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.execute(
            "create table if not exists charges "
            "(key text primary key, cents integer not null, asked integer not null)"
        )

    def charge(self, key: str, cents: int, card: str) -> str:
        """Take the money once per key; answers a receipt."""
        if card == "stolen":
            raise CardRefusedError
        if card == "broken":
            raise ConnectionError("the card's bank does not answer")
        asked = self._book(key, cents)
        if card == "slow" and asked == 1:
            raise TimeoutError("no answer within the time limit")
        return f"receipt for {key}"

    def charges(self) -> tuple[int, int, int]:
        """How many charges there are, how many cents they come to, how often we were asked."""
        with self._lock:
            count, cents, asked = self._db.execute(
                "select count(*), coalesce(sum(cents), 0), coalesce(sum(asked), 0) from charges"
            ).fetchone()
        return count, cents, asked

    def _book(self, key: str, cents: int) -> int:
        with self._lock:
            (asked,) = self._db.execute(
                "insert into charges values (?, ?, 1) "
                "on conflict (key) do update set asked = asked + 1 returning asked",
                (key, cents),
            ).fetchone()
        return int(asked)

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._db.close()
