"""What every answer carries, and what no request may do; around the whole app.

All that a page loads comes from this app: no inline script or style, no frame around it, no form
that leads away. So a text that slipped through unescaped could still run nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workflow_webui.errors import BodyTooLargeError, ForbiddenError

__all__ = ["CONTENT_SECURITY_POLICY", "GUARDED", "Guard", "check_same_site", "read_body"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
GUARDED: Mapping[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # not no-referrer: browsers then send "Origin: null" with our own forms
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}


class Guard:
    """Puts the headers on every answer, also on errors; an answer's own header wins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in GUARDED.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, held against the limit while it comes in.

    Raises:
        BodyTooLargeError: it says so, or turns out to be.
    """
    told = request.headers.get("content-length", "")
    if re.fullmatch(r"[0-9]{1,18}", told) and int(told) > limit:
        raise BodyTooLargeError(limit)
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > limit:
            raise BodyTooLargeError(limit)
    return bytes(parts)


def check_same_site(connection: HTTPConnection) -> None:
    """Refuse what another site's page made the browser send.

    Raises:
        ForbiddenError: the browser says that it came from elsewhere.
    """
    headers = connection.headers
    site = headers.get("sec-fetch-site", "none")
    if site not in ("same-origin", "none"):
        raise ForbiddenError("this was sent by a page of another site")
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, headers, connection.url.scheme):
        raise ForbiddenError(
            "this was sent by a page of another origin",
            hint="A proxy in front has to pass Host on as the browser sent it",
        )


def _is_own(origin: str, headers: Headers, scheme: str) -> bool:
    # not the scheme: behind a proxy that ends TLS this app sees http, the browser said https
    parts = urlsplit(origin)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    try:
        host = urlsplit(f"{scheme}://{headers.get('host', '')}")
        same_port = host.port == parts.port or (
            host.port in (None, default) and parts.port in (None, default)
        )
    except ValueError:
        return False
    return bool(parts.hostname) and parts.hostname == host.hostname and same_port
