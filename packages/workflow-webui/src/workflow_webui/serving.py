"""Serving the app by itself, with uvicorn (the extra ``serve``)."""

from __future__ import annotations

import ipaddress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workflow_core.errors import ConfigurationError

from workflow_webui.security.access import LocalOnly

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["serve"]

_STOP_SECONDS = 3  # for answers that are on their way; streams are cut


def serve(app: Starlette, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve until SIGINT or SIGTERM. The engine is closed by whoever made it, afterwards.

    Args:
        app: as `create_app` made it.
        host: the address to listen on; loopback unless the app has an auth hook.
        port: 0 takes a free one, and the log says which.

    Raises:
        ConfigurationError: others could come in by this address and the app has no auth hook, or
            uvicorn is not installed.
    """
    if isinstance(app.state.workflow_ui.auth, LocalOnly) and not _is_loopback(host):
        raise ConfigurationError(
            f"listening on {host} would be in vain: without an auth hook only this machine's"
            " browsers are answered",
            hint="Give auth= to create_app(), or listen on 127.0.0.1",
        )
    try:
        uvicorn: Any = import_module("uvicorn")
    except ImportError:
        raise ConfigurationError(
            "uvicorn is not installed: it comes with the extra serve of the wheel workflow-webui"
        ) from None
    uvicorn.run(
        app,
        host=host,
        port=port,
        timeout_graceful_shutdown=_STOP_SECONDS,
        proxy_headers=False,  # an address that a header names is nobody's proof
        server_header=False,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
