"""What a served workflow publishes on, checked before anything is received."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workflow_core.definition import Workflow
from workflow_core.errors import InputError
from workflow_core.model import names
from workflow_core.ports import EventStreamer

__all__ = ["check_topics"]


def check_topics(streamer: EventStreamer, workflows: Iterable[Workflow[Any, Any]]) -> None:
    """Raises InputError for a workflow whose topics the streamer cannot carry."""
    for workflow in workflows:
        topics = [names.status_topic(workflow.name, status) for status in sorted(workflow.steps)]
        topics += [names.run_state_topic(workflow.name), names.delete_topic(workflow.name)]
        try:
            streamer.check_topics(topics)
        except InputError as error:
            error.workflow = error.workflow or workflow.name
            raise
