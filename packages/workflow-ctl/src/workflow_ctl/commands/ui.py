"""The web UI: ``workflow ui``. It comes in a wheel of its own."""

from __future__ import annotations

import os
import secrets
from importlib import import_module
from typing import Any

import click

from workflow_ctl.base import Command, configured, defined, in_session
from workflow_ctl.loading import named
from workflow_ctl.session import Session
from workflow_ctl.signals import StopSignals

__all__ = ["ui"]

_TOKEN = "WORKFLOW_WEBUI_TOKEN"
_SECRET = "WORKFLOW_WEBUI_SECRET"


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="0 takes a free one, which the log tells.",
)
@click.option("--title", default="Workflow", show_default=True)
@click.option("--token", "with_token", is_flag=True, help="Make a token, print it, and ask for it.")
@click.option("--auth", metavar="MODULE:NAME", help="Who may come in: an auth hook of yours.")
@defined
@configured
@in_session
def ui(
    session: Session, host: str, port: int, title: str, with_token: bool, auth: str | None
) -> None:
    """Serve the web UI until SIGTERM or Ctrl-C; it comes in the wheel workflow-webui.

    Only this machine's browsers are answered, unless one of --token, --auth, or a token in
    WORKFLOW_WEBUI_TOKEN says who may come in. Definitions (--app) give statuses their names.
    Several processes behind one address share a WORKFLOW_WEBUI_SECRET.
    """
    if with_token and auth is not None:
        raise click.UsageError("--token and --auth both say who may come in: give one")
    web: Any = _installed()
    token = secrets.token_urlsafe(32) if with_token else os.environ.get(_TOKEN, "")
    hook = named(auth) if auth is not None else None
    if hook is None and token:
        hook = web.TokenAuth({token: web.User("operator")})
    try:
        settings = web.UiSettings(title=title, secret=os.environ.get(_SECRET, ""))
    except ValueError as error:
        raise click.UsageError(f"{_SECRET}: {error}") from error
    app = web.create_app(
        session.engine, list(session.workflows.values()), auth=hook, settings=settings
    )
    if with_token:
        session.out.note(f"token: {token}")
    with StopSignals():  # uvicorn passes its signal on at its end, which would be ours too
        web.serve(app, host=host, port=port)


def _installed() -> Any:
    try:
        return import_module("workflow_webui")
    except ModuleNotFoundError as error:
        if error.name != "workflow_webui":
            raise
        raise click.UsageError(
            "the web UI is not installed: it comes in the wheel workflow-webui, with the extra "
            "serve"
        ) from error
