"""Who may come in, and how the app answers so that nobody else can use their browser."""

from workflow_webui.security.access import BasicAuth, LocalOnly, TokenAuth, TrustedHeaderAuth
from workflow_webui.security.passwords import hash_password

__all__ = ["BasicAuth", "LocalOnly", "TokenAuth", "TrustedHeaderAuth", "hash_password"]
