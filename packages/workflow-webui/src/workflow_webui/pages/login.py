"""Giving a token once instead of with each request, where the app has tokens."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from workflow_core.errors import WorkflowError

from workflow_webui.errors import status_of
from workflow_webui.rendering import render
from workflow_webui.security.access import TokenAuth
from workflow_webui.security.guard import check_same_site
from workflow_webui.ui import Ui
from workflow_webui.web import BROWSER_COOKIE, SESSION_COOKIE, form_of, set_cookie

__all__ = ["form", "log_in", "log_out"]

Endpoint = Callable[[Request], Awaitable[Response]]
_NOBODY = ""


def form(ui: Ui) -> Endpoint:
    """Asks for the token."""

    async def endpoint(request: Request) -> Response:
        return await _form_page(ui, request, 200, "")

    return endpoint


def log_in(ui: Ui) -> Endpoint:
    """Takes the token, and gives a cookie for it."""

    async def endpoint(request: Request) -> Response:
        try:
            check_same_site(request)
            fields = dict(await form_of(request, 10_000))
        except WorkflowError as error:
            return await _form_page(ui, request, status_of(error), error.message)
        browser = request.cookies.get(BROWSER_COOKIE, "")
        if not ui.signer.is_form_token(fields.get("csrf", ""), browser, _NOBODY):
            return await _form_page(ui, request, 403, "This form was too old: send it again.")
        user = None
        if isinstance(ui.auth, TokenAuth):
            user = ui.auth.user_of(fields.get("token", "").strip())
        if user is None:
            ui.audit.note("somebody", "log in", "", outcome="refused")
            return await _form_page(ui, request, 403, "No user has this token.")
        ui.audit.note(user.name, "log in", "")
        response = RedirectResponse(_root(request) + "/", 303)
        set_cookie(ui, request, response, SESSION_COOKIE, ui.signer.session(user.name))
        return response

    return endpoint


def log_out(ui: Ui) -> Endpoint:
    """Takes the cookie away. A stranger's page could at most make somebody log in again."""

    async def endpoint(request: Request) -> Response:
        try:
            check_same_site(request)
        except WorkflowError as error:
            return await _form_page(ui, request, status_of(error), error.message)
        response = RedirectResponse(_root(request) + "/login", 303)
        response.delete_cookie(SESSION_COOKIE, path=_root(request) or "/")
        return response

    return endpoint


async def _form_page(ui: Ui, request: Request, status: int, problem: str) -> Response:
    browser = request.cookies.get(BROWSER_COOKIE, "") or secrets.token_urlsafe(24)
    text = await ui.in_thread(
        lambda: render(
            "login.html",
            ui=ui,
            root=_root(request),
            problem=problem,
            csrf=ui.signer.form_token(browser, _NOBODY),
            has_tokens=isinstance(ui.auth, TokenAuth),
        )
    )
    response = HTMLResponse(text, status)
    set_cookie(ui, request, response, BROWSER_COOKIE, browser)
    return response


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))
