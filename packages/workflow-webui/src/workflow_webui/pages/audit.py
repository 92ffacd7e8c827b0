"""What was done here."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.responses import HTMLResponse, Response

from workflow_webui.rendering import render
from workflow_webui.ui import Ask

__all__ = ["audit"]


def audit(ask: Ask) -> Response:
    """The latest entries of this process."""
    entries = ask.ui.audit.latest()
    return HTMLResponse(
        render("audit.html", ask=ask, here="audit", entries=entries, now=datetime.now(UTC))
    )
