"""``python -m workflow_webui``: serve the web UI over what a configuration names.

The token of a user with all rights may be in WORKFLOW_WEBUI_TOKEN; without it this machine's
browsers alone are answered. Several processes behind one address share WORKFLOW_WEBUI_SECRET.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from workflow_core import Engine, Workflow
from workflow_core.errors import ConfigurationError, WorkflowError

from workflow_webui.app import create_app
from workflow_webui.security.access import TokenAuth
from workflow_webui.serving import serve
from workflow_webui.settings import UiSettings
from workflow_webui.users import User

_TOKEN = "WORKFLOW_WEBUI_TOKEN"
_SECRET = "WORKFLOW_WEBUI_SECRET"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        workflows = [_found(name) for name in options.workflows]
        token = os.environ.get(_TOKEN, "")
        auth = TokenAuth({token: User("operator")}) if token else None
        with Engine.from_config(options.config) as engine:
            settings = UiSettings(title=options.title, secret=os.environ.get(_SECRET, ""))
            app = create_app(engine, workflows, auth=auth, settings=settings)
            serve(app, host=options.host, port=options.port)
    except (WorkflowError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workflow_webui", description="Serve the web UI of workflows."
    )
    parser.add_argument(
        "workflows",
        nargs="*",
        metavar="MODULE:NAME",
        help="definitions, such as shop.flow:orders: they give statuses their names",
    )
    parser.add_argument("--config", help="the configuration's file; else WORKFLOW_CONFIG")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--title", default="Workflow")
    return parser


def _found(name: str) -> Workflow[Any, Any]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as problem:
        raise ConfigurationError(
            f"there is no {name}: {problem}", hint="Write it as package.module:name"
        ) from problem
    if not isinstance(found, Workflow):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, and no Workflow")
    return found


if __name__ == "__main__":
    sys.exit(main())
