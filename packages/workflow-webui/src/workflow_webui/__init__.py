"""Web UI of workflow-core: see runs, and why they do not move; steer them, one or many.

An ASGI app over any record store; every asset is in the wheel. `create_app` makes it.
"""

from workflow_webui.app import create_app
from workflow_webui.audit import AuditEntry
from workflow_webui.security import (
    BasicAuth,
    LocalOnly,
    TokenAuth,
    TrustedHeaderAuth,
    hash_password,
)
from workflow_webui.seed import (
    Paths,
    home_handler,
    list_handler,
    object_data_handler,
    update_handler,
)
from workflow_webui.serving import serve
from workflow_webui.settings import UiSettings
from workflow_webui.users import ALL_RIGHTS, READ_ONLY, Auth, Authenticate, Right, User

__all__ = [
    "ALL_RIGHTS",
    "READ_ONLY",
    "AuditEntry",
    "Auth",
    "Authenticate",
    "BasicAuth",
    "LocalOnly",
    "Paths",
    "Right",
    "TokenAuth",
    "TrustedHeaderAuth",
    "UiSettings",
    "User",
    "create_app",
    "hash_password",
    "home_handler",
    "list_handler",
    "object_data_handler",
    "serve",
    "update_handler",
]
