"""From an HTTP request to an `Ask` and back: the one place that knows Starlette's requests.

Everything that waits for a store, and the rendering too, happens in a thread: the loop stays free
for other requests, and for whatever app this one is mounted in.
"""

from __future__ import annotations

import inspect
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl, quote

from anyio import to_thread
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from workflow_core.errors import InputError, WorkflowError

from workflow_webui.errors import MediaTypeError, UiError, status_of
from workflow_webui.rendering import render
from workflow_webui.security.access import TokenAuth
from workflow_webui.security.guard import check_same_site, read_body
from workflow_webui.ui import Ask, Ui
from workflow_webui.users import Right, User

__all__ = [
    "BROWSER_COOKIE",
    "SESSION_COOKIE",
    "View",
    "api",
    "form_of",
    "kept",
    "page",
    "set_cookie",
    "user_of",
]

logger = logging.getLogger("workflow_webui")

SESSION_COOKIE = "workflow_session"
BROWSER_COOKIE = "workflow_browser"

View: TypeAlias = Callable[[Ask], Response]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 1_000
_RUNS_OWN = ("data", "payload")  # fields that are kept as JSON, which can write anything


def page(ui: Ui, view: View, *, right: Right = Right.READ) -> Endpoint:
    """A page for people: errors are pages, forms are checked for where they come from."""

    async def endpoint(request: Request) -> Response:
        browser = request.cookies.get(BROWSER_COOKIE, "")
        is_new = not _is_ours(browser)
        if is_new:
            browser = secrets.token_urlsafe(24)
        user = await user_of(ui, request)
        if user is None:
            return _asked_for_a_name(ui, request)
        csrf = ui.signer.form_token(browser, user.name)
        ask = _ask(ui, request, user, csrf)
        try:
            ask.need(right)
            ask = replace(ask, query=_pairs(request.url.query))
            if request.method == "POST":
                check_same_site(request)
                form = await form_of(request, ui.settings.max_body)
                ask = replace(ask, form=form)
                if not ui.signer.is_form_token(ask.field("csrf"), browser, user.name):
                    raise _StaleFormError(
                        "this form is of another browser, or of before a restart",
                        hint="Go back, reload the page, and send it again",
                    )
            response = await ui.in_thread(lambda: view(ask))
        except WorkflowError as error:
            response = await _error_page(ask, error)
        except Exception:
            # which request, and never what it carried
            logger.exception("%s %s failed", request.method, request.url.path)
            response = await _error_page(ask, _UnforeseenError())
        if is_new:
            set_cookie(ui, request, response, BROWSER_COOKIE, browser)
        return response

    return endpoint


def api(ui: Ui, view: View, *, right: Right = Right.READ, asks_store: bool = True) -> Endpoint:
    """JSON for programs: errors are JSON, and what changes something takes JSON alone.

    A stranger's page cannot make a browser send JSON across sites, so no token is needed.

    Args:
        ui: the app.
        view: what answers, on a thread.
        right: what the user has to have.
        asks_store: False: it answers too while all of the store's threads hang.
    """

    async def endpoint(request: Request) -> Response:
        try:
            user = await user_of(ui, request)
            if user is None:
                return _refusal(ui, {"error": "who are you?", "hint": _how(ui)})
            ask = replace(_ask(ui, request, user), query=_pairs(request.url.query))
            ask.need(right)
            if request.method == "POST":
                check_same_site(request)
                ask = replace(ask, body=await _json(request, ui.settings.max_body))
            limiter = ui.limiter if asks_store else ui.probe_limiter
            return await to_thread.run_sync(lambda: view(ask), limiter=limiter)
        except WorkflowError as error:
            return error_json(error)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return error_json(_UnforeseenError())

    return endpoint


def error_json(error: WorkflowError) -> JSONResponse:
    """What went wrong, about which run, and what to do."""
    told = {
        "error": error.message,
        "type": type(error).__name__.lstrip("_"),
        "workflow": error.workflow,
        "run_id": error.run_id,
        "hint": error.hint,
    }
    return JSONResponse({k: v for k, v in told.items() if v}, status_of(error))


async def user_of(ui: Ui, connection: HTTPConnection) -> User | None:
    """Who this is from, by the app's auth hook, or by the cookie of a login with a token.

    A hook that fails lets nobody in.
    """
    auth: Any = ui.auth
    ask: Callable[[HTTPConnection], Any] = auth.user if hasattr(auth, "user") else auth
    try:
        if inspect.iscoroutinefunction(ask):
            found = await ask(connection)
        else:
            found = await to_thread.run_sync(lambda: ask(connection), limiter=ui.auth_limiter)
            if inspect.isawaitable(found):
                found = await found
    except Exception:
        logger.exception("the auth hook failed: nobody is let in")
        return None
    if found is None and isinstance(auth, TokenAuth):
        name = ui.signer.user_of(connection.cookies.get(SESSION_COOKIE, ""))
        found = None if name is None else auth.user_named(name)
    return cast("User | None", found)


def set_cookie(ui: Ui, request: Request, response: Response, name: str, value: str) -> None:
    """For this app alone, unseen by scripts, and never sent along from other sites."""
    secure = ui.settings.secure_cookies
    response.set_cookie(
        name,
        value,
        path=request.scope.get("root_path", "") or "/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" if secure is None else secure,
    )


def _ask(ui: Ui, request: Request, user: User, csrf: str = "") -> Ask:
    """The request without what it brings: that may be more than is taken."""
    root = request.scope.get("root_path", "")
    path = request.scope["path"]
    here = quote(path if path.startswith(root) else root + path)
    return Ask(
        ui=ui,
        user=user,
        path={name: kept(str(value)) for name, value in request.path_params.items()},
        root=root,
        here=f"{here}?{request.url.query}" if request.url.query else here,
        csrf=csrf,
    )


async def form_of(request: Request, limit: int) -> list[tuple[str, str]]:
    """The pairs of a form.

    Raises:
        MediaTypeError: it is none.
        BodyTooLargeError: it is larger than that.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise MediaTypeError(f"forms are sent as {_FORM}")
    return _pairs((await read_body(request, limit)).decode("utf-8", "replace"))


async def _json(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MediaTypeError("the body is to be application/json")
    body = await read_body(request, limit)
    try:
        value = json.loads(body or b"null")
        # half a surrogate pair, that JSON can write and nobody can encode
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InputError("the body is no JSON") from None
    fields = value.items() if isinstance(value, dict) else ()
    if any("\\u0000" in json.dumps(item) for key, item in fields if key not in _RUNS_OWN):
        raise InputError("a text in the body holds a NUL character, which no database keeps")
    return body


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InputError(f"more than {_MOST_FIELDS} fields are not taken") from None
    return [(key, kept(value)) for key, value in pairs]


def kept(text: str) -> str:
    """Without NUL: it is in no text that a database keeps, and nobody types it."""
    return text.replace("\x00", "")


def _is_ours(browser: str) -> bool:
    return len(browser) == 32 and browser.replace("-", "").replace("_", "").isalnum()


def _asked_for_a_name(ui: Ui, request: Request) -> Response:
    root = request.scope.get("root_path", "")
    if isinstance(ui.auth, TokenAuth) and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(f"{root}/login", 303)
    text = render("refused.html", ui=ui, root=root, how=_how(ui))
    headers = {"www-authenticate": challenge} if (challenge := _challenge(ui)) else {}
    return HTMLResponse(text, 401 if challenge else 403, headers)


def _refusal(ui: Ui, body: object) -> Response:
    challenge = _challenge(ui)
    headers = {"www-authenticate": challenge} if challenge else {}
    return JSONResponse(body, 401 if challenge else 403, headers)


def _challenge(ui: Ui) -> str:
    return str(getattr(ui.auth, "challenge", ""))


def _how(ui: Ui) -> str:
    if type(ui.auth).__name__ == "LocalOnly":
        return (
            "Without an auth hook this app answers this machine's browsers alone, without a proxy"
            " in between. Give auth= to create_app()"
        )
    return "The app's auth hook knows no user for this request"


async def _error_page(ask: Ask, error: WorkflowError) -> Response:
    status = status_of(error)
    return await ask.ui.in_thread(
        lambda: HTMLResponse(render("error.html", ask=ask, error=error, status=status), status)
    )


class _StaleFormError(UiError):
    status = 403


class _UnforeseenError(WorkflowError):
    def __init__(self) -> None:
        super().__init__(
            "something went wrong here that nobody has foreseen",
            hint="The log of this process says what",
        )
