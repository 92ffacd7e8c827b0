"""Pages that stay fresh: a stream of events that say "something changed", and nothing more.

The page then asks for itself again, so what it shows, and to whom, is decided in one place. Each
stream asks the store by itself, every ``refresh``; what several ask for at once is asked for once.
A stream ends after some minutes and the browser opens another: so a user whose access was taken
away is not told for ever, and a server that stops need not wait for long.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from anyio import sleep
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from workflow_core import RecordQuery
from workflow_core.errors import InputError, RunNotFoundError, WorkflowError

from workflow_webui.ui import Ui
from workflow_webui.users import Right
from workflow_webui.web import error_json, kept, user_of

__all__ = ["Watchers", "live", "token_of"]

_LONGEST_STREAM = 600.0
_ANYWAY = 15.0  # attempts and the like move no count: the page asks for them now and then
_RETRY_MS = 3_000


@dataclass
class Watchers:
    """How many streams are open; touched in the loop alone."""

    now: int = 0


def live(ui: Ui, watchers: Watchers) -> Any:
    """The endpoint: ``?watch=list``, or ``?watch=run:<id>``."""

    async def endpoint(request: Request) -> Response:
        what = kept(request.query_params.get("watch", ""))
        user = await user_of(ui, request)
        if user is None or not user.may(Right.READ):
            return JSONResponse({"error": "not for you"}, 403)
        if watchers.now >= ui.settings.max_watchers:
            # a status other than 200 ends it for the browser: its page asks by itself then
            return JSONResponse({"error": "as many pages as may are watched already"}, 503)
        try:
            first = await ui.in_thread(lambda: token_of(ui, what))
        except WorkflowError as error:
            return error_json(error)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        stream = _events(ui, watchers, what, first)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    return endpoint


def token_of(ui: Ui, what: str) -> str:
    """Something that changes when what is watched does.

    Raises:
        InputError: there is no such thing to watch.
        RunNotFoundError: the run is gone.
    """
    kind, _, run_id = what.partition(":")
    if kind == "list":
        return str(hash(frozenset(ui.counts(RecordQuery()).items())))
    if kind != "run" or not run_id:
        raise InputError(f"{what!r} is nothing that can be watched")
    seconds = ui.settings.refresh.total_seconds() / 2
    return ui.remembered.get(("version", run_id), seconds, lambda: _version(ui, run_id))


def _version(ui: Ui, run_id: str) -> str:
    found = ui.store.lookup_many([run_id])
    if run_id not in found:
        raise RunNotFoundError(f"no run {run_id}", run_id=run_id)
    return str(found[run_id].version)


async def _events(ui: Ui, watchers: Watchers, what: str, seen: str) -> AsyncIterator[str]:
    watchers.now += 1
    begin = told = time.monotonic()
    try:
        yield f"retry: {_RETRY_MS}\nevent: standing\ndata: {seen}\n\n"
        while time.monotonic() - begin < _LONGEST_STREAM:
            await sleep(ui.settings.refresh.total_seconds())
            try:
                now = await ui.in_thread(lambda: token_of(ui, what))
            except RunNotFoundError:
                yield "event: gone\ndata: \n\n"
                return
            except WorkflowError:
                yield ": the store does not answer\n\n"
                continue
            if now != seen or time.monotonic() - told > _ANYWAY:
                seen, told = now, time.monotonic()
                yield f"event: changed\ndata: {seen}\n\n"
            else:
                yield ": nothing new\n\n"  # finds out whether somebody still listens
    finally:
        watchers.now -= 1
