"""The actions on one run.

Each asks for a reason, goes through the engine's verb, and leaves a line in the audit log, whatever
came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workflow_core import Callback, JsonCodec, Workflow
from workflow_core.errors import DecodeError, InputError, PayloadError, WorkflowError

from workflow_webui.errors import CallbackFailedError
from workflow_webui.filters import number
from workflow_webui.reading.detail import run_record
from workflow_webui.ui import Ask
from workflow_webui.users import Right

__all__ = ["VERBS", "act_on_run", "noted", "told_reason", "trigger_run"]

_LONGEST_REASON = 500


def act_on_run(ask: Ask, verb: str, run_id: str, fields: Mapping[str, str]) -> str:
    """Do it; answers what was done, in a sentence.

    Args:
        ask: whose user acts.
        verb: one of `VERBS`.
        run_id: the run.
        fields: ``reason``, and what the verb needs beside it: ``status`` (a number), ``callback``
            (a name) and ``payload`` (JSON).

    Raises:
        ForbiddenError: the user may not.
        InputError: no reason, no such verb, or something else that cannot be taken.
        WorkflowError: as the engine's verb.
    """
    ask.need(Right.ACT)
    if verb not in VERBS:
        raise InputError(f"{verb!r} is no action", hint=f"There are {', '.join(VERBS)}")
    reason = told_reason(fields.get("reason", ""))
    workflow = run_record(ask, run_id).workflow
    return noted(
        ask,
        verb,
        run_id,
        workflow=workflow,
        reason=reason,
        work=lambda: VERBS[verb](ask, run_id, workflow, reason, fields),
    )


def trigger_run(ask: Ask, workflow: str, fields: Mapping[str, str]) -> str:
    """Begin a run; answers its id.

    Args:
        ask: whose user acts.
        workflow: the name of one whose definition is at hand.
        fields: ``foreign_id``, ``data`` (JSON), ``reason``, and perhaps ``status`` (a number) and
            ``idempotency_key``.

    Raises:
        ForbiddenError: the user may not.
        InputError: something given cannot be taken.
        RunInProgressError: the foreign id has a live run.
    """
    ask.need(Right.ACT)
    reason = told_reason(fields.get("reason", ""))
    definition = ask.ui.workflow(workflow)
    foreign_id = fields.get("foreign_id", "")

    def begin() -> str:
        data = _read(definition.data_type, fields.get("data", ""), "data")
        given = fields.get("status", "")
        return ask.ui.engine.trigger(
            definition,
            foreign_id,
            data,
            status=_status(definition, given) if given else None,
            idempotency_key=fields.get("idempotency_key") or None,
            headers={"triggered by": ask.user.name, "triggered because": reason},
        )

    return noted(ask, "trigger", foreign_id, workflow=workflow, reason=reason, work=begin)


def noted(
    ask: Ask, action: str, target: str, *, workflow: str, reason: str, work: Callable[[], str]
) -> str:
    """Do it and write down what came of it. Raises what `work` raises."""
    note = ask.ui.audit.note
    try:
        detail = work()
    except Exception as error:
        note(
            ask.user.name,
            action,
            target,
            workflow=workflow,
            reason=reason,
            outcome=type(error).__name__,
            detail=str(error) if isinstance(error, WorkflowError) else "",
        )
        raise
    note(ask.user.name, action, target, workflow=workflow, reason=reason, detail=detail)
    ask.ui.remembered.forget()
    return detail


def told_reason(reason: str) -> str:
    """The reason, as it is kept.

    Raises:
        InputError: there is none, or it is a letter.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise InputError("say why: whoever looks at this run next will ask")
    if len(reason) > _LONGEST_REASON:
        raise InputError(f"a reason has {_LONGEST_REASON} characters at most")
    return reason


Verb = Callable[[Ask, str, str, str, Mapping[str, str]], str]


def _pause(ask: Ask, run_id: str, _: str, reason: str, __: Mapping[str, str]) -> str:
    ask.ui.engine.pause(run_id, reason=reason, who=ask.user.name)
    return "paused"


def _resume(ask: Ask, run_id: str, _: str, reason: str, __: Mapping[str, str]) -> str:
    ask.ui.engine.resume(run_id, who=ask.user.name, why=reason)
    return "resumed"


def _cancel(ask: Ask, run_id: str, _: str, reason: str, __: Mapping[str, str]) -> str:
    ask.ui.engine.cancel(run_id, reason=reason, who=ask.user.name)
    return "cancelled"


def _retry(ask: Ask, run_id: str, _: str, reason: str, __: Mapping[str, str]) -> str:
    ask.ui.engine.retry_now(run_id, who=ask.user.name, why=reason)
    return "due at once"


def _move(ask: Ask, run_id: str, workflow: str, reason: str, fields: Mapping[str, str]) -> str:
    definition = ask.ui.workflow(workflow)
    status = _status(definition, fields.get("status", ""))
    ask.ui.engine.move(definition, run_id, status, who=ask.user.name, why=reason)
    return f"moved to {status.name}"


def _callback(ask: Ask, run_id: str, workflow: str, reason: str, fields: Mapping[str, str]) -> str:
    definition = ask.ui.workflow(workflow)
    name = fields.get("callback", "")
    step = next((step for step in definition.callbacks if step.name == name), None)
    if step is None:
        known = ", ".join(step.name for step in definition.callbacks)
        raise InputError(f"{workflow!r} has no callback {name!r}", hint=f"It has {known or 'none'}")
    payload = None
    if step.payload_type is not None:
        payload = _read(step.payload_type, fields.get("payload", ""), "payload")
    try:
        ask.ui.engine.callback(Callback[Any, Any, Any](definition, step), run_id, payload)
    except WorkflowError:
        raise
    except Exception as error:  # the function's own: its words may hold data
        raise CallbackFailedError(
            f"the callback {name} raised {type(error).__name__}", run_id=run_id
        ) from error
    return f"called {name}"


def _delete(ask: Ask, run_id: str, workflow: str, reason: str, _: Mapping[str, str]) -> str:
    receipt = ask.ui.engine.delete_data(
        ask.ui.workflow(workflow), run_id, who=ask.user.name, why=reason
    )
    places = f"data deleted from {', '.join(receipt.erased)}"
    return f"{places}; still in {', '.join(receipt.remains)}" if receipt.remains else places


def _again(ask: Ask, run_id: str, workflow: str, reason: str, fields: Mapping[str, str]) -> str:
    definition = ask.ui.workflow(workflow)
    given = fields.get("status", "")
    begun = ask.ui.engine.begin_again(
        definition,
        run_id,
        status=_status(definition, given) if given else None,
        who=ask.user.name,
        why=reason,
    )
    return f"begun again as {begun}"


VERBS: Mapping[str, Verb] = {
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "retry": _retry,
    "move": _move,
    "callback": _callback,
    "again": _again,
    "delete": _delete,
}
"""By the name that forms and the API give them."""


def _status(workflow: Workflow[Any, Any], given: str) -> Any:
    return workflow.status(number(given, "status"))


def _read(wanted: Any, text: str, what: str) -> Any:
    """The value of this type that the JSON says. Raises PayloadError; it holds none of the text."""
    if wanted is str and not text.startswith('"'):
        return text  # people write a text without its quotes
    try:
        return JsonCodec[Any](wanted).decode(text.encode())
    except DecodeError as error:
        told = error.message.replace("the stored data", f"the {what}")
        raise PayloadError(told, hint="It is written as JSON") from error
