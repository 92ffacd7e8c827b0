"""Real servers for tests and for people: found or started, shared, cleaned up after, and broken.

Tests ask by pytest fixtures, see `workflow_adaptertest.servers.fixtures`; people by the command
``scripts/services``. A server comes from a URL in the environment, else from a container where a
Docker engine answers, else it is started from this machine's own programs.
"""

from workflow_adaptertest.servers.errors import (
    BadUrlError,
    CannotBreakError,
    DidNotStartError,
    NotAvailableError,
    ServersError,
)
from workflow_adaptertest.servers.fleet import Fleet
from workflow_adaptertest.servers.kinds import KINDS, Kind
from workflow_adaptertest.servers.proxies import Proxied
from workflow_adaptertest.servers.resolver import Servers, usual_sources
from workflow_adaptertest.servers.server import Server, Space
from workflow_adaptertest.servers.url import ServerUrl

__all__ = [
    "KINDS",
    "BadUrlError",
    "CannotBreakError",
    "DidNotStartError",
    "Fleet",
    "Kind",
    "NotAvailableError",
    "Proxied",
    "Server",
    "ServerUrl",
    "Servers",
    "ServersError",
    "Space",
    "usual_sources",
]
