"""Which runs a list is about: read from a URL, written back into one, and asked of the store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from workflow_core import RecordQuery, RunState, SortOrder, Workflow
from workflow_core.errors import InputError

__all__ = ["RunFilter", "number", "parse_time", "shortened"]

_AGO = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ATTRIBUTE = "attr."
_MOST = 200  # values of one filter
_LONGEST_QUOTED = 80


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Filters are all to be met. Texts as the user wrote them, so that the URL stays the same."""

    workflow: str = ""
    foreign_id: str = ""
    statuses: Sequence[int] = ()
    states: Sequence[RunState] = ()
    since: str = ""
    """Created after: a time, or how long ago, such as ``2h``."""
    until: str = ""
    text: str = ""
    """Looked for in what the store has no index for; see `listing`."""
    oldest_first: bool = False
    run_ids: Sequence[str] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, query: Sequence[tuple[str, str]]) -> RunFilter:
        """From a URL's or a form's pairs.

        Raises:
            InputError: a number, a state or a time is none.
        """
        values: dict[str, list[str]] = {}
        for key, value in query:
            if value.strip():
                values.setdefault(key, []).append(value.strip())
        if any(len(many) > _MOST for many in values.values()):
            raise InputError(f"more than {_MOST} values of one filter are not taken")

        def one(key: str) -> str:
            return values.get(key, [""])[-1]

        found = cls(
            workflow=one("workflow"),
            foreign_id=one("foreign_id"),
            statuses=tuple(number(value, "status") for value in values.get("status", ())),
            states=tuple(_state(value) for value in values.get("state", ())),
            since=one("since"),
            until=one("until"),
            text=one("q"),
            oldest_first=one("order") == "oldest",
            run_ids=tuple(values.get("run", ())),
            attributes={
                key.removeprefix(_ATTRIBUTE): many[-1]
                for key, many in values.items()
                if key.startswith(_ATTRIBUTE)
            },
        )
        if found.statuses and not found.workflow:
            raise InputError("a status means nothing without its workflow: choose one")
        if found.attributes and not found.workflow:
            raise InputError("a search attribute means nothing without its workflow: choose one")
        now = datetime.now(UTC)
        parse_time(found.since, now)
        parse_time(found.until, now)
        return found

    def pairs(self) -> list[tuple[str, str]]:
        """For a URL or a form; `read` reads them back."""
        pairs = [
            ("workflow", self.workflow),
            *(("status", str(status)) for status in self.statuses),
            *(("state", state.name.lower()) for state in self.states),
            ("foreign_id", self.foreign_id),
            ("since", self.since),
            ("until", self.until),
            ("q", self.text),
            *((f"{_ATTRIBUTE}{name}", value) for name, value in self.attributes.items()),
            *(("run", run_id) for run_id in self.run_ids),
            ("order", "oldest" if self.oldest_first else ""),
        ]
        return [(key, value) for key, value in pairs if value]

    def url(self, **changes: Any) -> str:
        """The query string of this filter with some of it changed, "" or with its question mark."""
        pairs = replace(self, **changes).pairs()
        return f"?{urlencode(pairs)}" if pairs else ""

    @property
    def is_narrow(self) -> bool:
        """Whether it names anything beside a workflow."""
        return bool(replace(self, workflow="", oldest_first=False).pairs())

    def query(self, now: datetime, workflow: Workflow[Any, Any] | None) -> RecordQuery:
        """As the store is asked; without the free text, which it cannot be asked for.

        Args:
            now: the store's present, from which "2h" counts.
            workflow: the definition, where it is at hand: it knows the types of attributes.

        Raises:
            InputError: an attribute is none of the workflow's.
        """
        return RecordQuery(
            workflow=self.workflow or None,
            foreign_id=self.foreign_id or None,
            run_ids=self.run_ids or None,
            statuses=self.statuses or None,
            states=self.states or None,
            created_after=parse_time(self.since, now),
            created_before=parse_time(self.until, now),
            search=self._wanted(workflow) or None,
            order=SortOrder.OLDEST_FIRST if self.oldest_first else SortOrder.NEWEST_FIRST,
        )

    def told(self, names: Mapping[int, str]) -> str:
        """In words, for confirmations and for the audit log."""
        parts = [
            f"of {self.workflow!r}" if self.workflow else "of every workflow",
            "at " + " or ".join(names.get(s, str(s)) for s in self.statuses)
            if self.statuses
            else "",
            "that are " + " or ".join(s.name.lower().replace("_", " ") for s in self.states)
            if self.states
            else "",
            f"with foreign id {self.foreign_id!r}" if self.foreign_id else "",
            f"created after {self.since}" if self.since else "",
            f"created before {self.until}" if self.until else "",
            *(f"with {name} = {value!r}" for name, value in self.attributes.items()),
            f"chosen by hand ({len(self.run_ids)})" if self.run_ids else "",
        ]
        return "runs " + " ".join(part for part in parts if part)

    def _wanted(self, workflow: Workflow[Any, Any] | None) -> dict[str, str | int]:
        if not self.attributes:
            return {}
        known = [] if workflow is None else list(workflow.attributes.names)
        for name in self.attributes:
            if workflow is not None and name not in known:
                raise InputError(
                    f"{self.workflow!r} has no search attribute {name!r}",
                    hint=f"It has {', '.join(known)}" if known else "It has none at all",
                )
        # a text of digits is looked for as the number that it most likely is; '"12"' is the text
        return {name: _value(value) for name, value in self.attributes.items()}


def parse_time(text: str, now: datetime) -> datetime | None:
    """A time as people write it: ISO 8601, UTC where it does not say, or how long ago.

    Raises:
        InputError: it is neither.
    """
    if not text:
        return None
    if ago := _AGO.fullmatch(text.strip().lower().removesuffix(" ago")):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise InputError(f"{text!r} was before there were calendars") from None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{text!r} is no time", hint="Write 2026-01-31T12:00, or how long ago: 30m, 2h, 7d"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _value(text: str) -> str | int:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text


def number(text: str, what: str) -> int:
    """A number as URLs and forms hold it.

    Raises:
        InputError: it is none, or one of more than nine digits. (`str.isdigit` is true of texts
            that `int` does not take.)
    """
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InputError(f"{what} is to be a number, and {shortened(text)} is none")
    return int(text)


def shortened(text: str) -> str:
    """As an error quotes what was sent: it may be as long as a URL."""
    return repr(text if len(text) <= _LONGEST_QUOTED else f"{text[:_LONGEST_QUOTED]}…")


def _state(text: str) -> RunState:
    by_name = {state.name.lower(): state for state in RunState}
    if text.lower() not in by_name:
        raise InputError(f"{text!r} is no run state", hint=f"There are {', '.join(by_name)}")
    return by_name[text.lower()]
