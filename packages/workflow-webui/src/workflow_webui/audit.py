"""Who did what, to which run, why, and what came of it: a line each, and never a payload.

The line goes to the logger ``workflow_webui.audit`` with the entry's fields beside it, so whatever
keeps the logs keeps the audit. The last ones are also kept here, for the page that shows them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

__all__ = ["Audit", "AuditEntry", "OnAudit"]

logger = logging.getLogger("workflow_webui.audit")

_KEPT = 500


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One action, after it was tried.

    Attributes:
        at: by the clock of this process.
        who: the user's name.
        action: the verb, such as ``pause``.
        target: the run id, the schedule, or the filter of a bulk action in words.
        workflow: whose; "" where it is not known.
        reason: what the user wrote.
        outcome: ``done``, or the type of the error.
        detail: such as the new run's id, or how many runs were changed.
    """

    at: datetime
    who: str
    action: str
    target: str
    workflow: str = ""
    reason: str = ""
    outcome: str = "done"
    detail: str = ""


OnAudit = Callable[[AuditEntry], object]


class Audit:
    """Any thread.

    Args:
        hook: called with each entry too, such as to put it into a table; what it raises is logged.
    """

    def __init__(self, hook: OnAudit | None = None) -> None:
        self._hook = hook
        self._latest: deque[AuditEntry] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def note(
        self,
        who: str,
        action: str,
        target: str,
        *,
        workflow: str = "",
        reason: str = "",
        outcome: str = "done",
        detail: str = "",
    ) -> None:
        """Write the line; never raises."""
        entry = AuditEntry(
            at=datetime.now(UTC),
            who=_line(who),
            action=action,
            target=_line(target),
            workflow=_line(workflow),
            reason=_line(reason),
            outcome=outcome,
            detail=_line(detail),
        )
        with self._lock:
            self._latest.append(entry)
        fields = {f"audit_{name}": str(value) for name, value in asdict(entry).items()}
        logger.info(
            "%s: %s %s: %s (%s)%s",
            entry.who,
            entry.action,
            entry.target,
            entry.outcome,
            entry.reason or "no reason",
            f": {entry.detail}" if entry.detail else "",
            extra=fields,
        )
        if self._hook is not None:
            try:
                self._hook(entry)
            except Exception:
                logger.exception("the audit hook failed")

    def latest(self) -> Sequence[AuditEntry]:
        """What this process has noted, newest first."""
        with self._lock:
            return list(reversed(self._latest))


def _line(text: str) -> str:
    """On one line: a reason with a line break could forge a line of its own."""
    return "".join(c if c.isprintable() else " " for c in text)[:1_000]
