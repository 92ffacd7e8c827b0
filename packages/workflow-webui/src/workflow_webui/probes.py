"""For what watches this process: is it alive, is it ready, and its figures.

``/healthz`` and ``/readyz`` answer anybody, since a probe has no name; they say yes or no and
nothing of what is behind. ``/metrics`` wants the right to read.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from workflow_core.errors import NotSupportedError

from workflow_webui.reading.health import health_of
from workflow_webui.ui import Ask, Ui

__all__ = ["metrics", "probe"]


def probe(ui: Ui, what: str) -> Any:
    """The endpoint for ``live`` or ``ready``."""

    async def endpoint(request: Request) -> Response:
        # not among the store's threads: when these hang, this is who has to tell
        good = await to_thread.run_sync(lambda: _is(ui, what), limiter=ui.probe_limiter)
        return JSONResponse({what: good}, 200 if good else 503)

    return endpoint


def metrics(ask: Ask) -> Response:
    """Prometheus' text format, of whatever in this process counts into its registry.

    Raises:
        NotSupportedError: no Prometheus client is installed.
    """
    try:
        client = import_module("prometheus_client")
    except ImportError:
        raise NotSupportedError(
            "there are no metrics in this process",
            hint="They come with telemetry: install its Prometheus exporter beside this app",
        ) from None
    return Response(client.generate_latest(), media_type=client.CONTENT_TYPE_LATEST)


def _is(ui: Ui, what: str) -> bool:
    health = health_of(ui)
    return health.live if what == "live" else health.ready
