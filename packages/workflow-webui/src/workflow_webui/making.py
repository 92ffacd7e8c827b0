"""Puts together what the pages of one app, or one handler alone, share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workflow_core import Engine, Workflow
from workflow_core.errors import InputError

from workflow_webui.acting.bulk import Jobs
from workflow_webui.audit import Audit, OnAudit
from workflow_webui.reading.flow import LagPoints
from workflow_webui.security.access import LocalOnly
from workflow_webui.security.tokens import Signer
from workflow_webui.settings import UiSettings
from workflow_webui.ui import Ui
from workflow_webui.users import Auth, Authenticate

__all__ = ["make_ui"]


def make_ui(
    engine: Engine,
    workflows: Sequence[Workflow[Any, Any]],
    *,
    auth: Auth | Authenticate | None = None,
    settings: UiSettings | None = None,
    on_audit: OnAudit | None = None,
) -> Ui:
    """What `create_app` says of these.

    Raises:
        InputError: two workflows have one name.
        DefinitionError: a workflow is declared wrongly.
    """
    by_name = {workflow.name: workflow for workflow in workflows}
    if len(by_name) < len(workflows):
        raise InputError("two of these workflows have the same name")
    for workflow in workflows:
        workflow.check()
    settings = settings or UiSettings()
    return Ui(
        engine=engine,
        workflows=by_name,
        settings=settings,
        auth=auth or LocalOnly(),
        audit=Audit(on_audit),
        signer=Signer(settings.secret),
        jobs=Jobs(),
        lag_points=LagPoints(),
    )
