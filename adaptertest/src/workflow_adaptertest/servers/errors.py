"""What can go wrong with a server before a test has begun."""

from __future__ import annotations

__all__ = [
    "BadUrlError",
    "CannotBreakError",
    "DidNotStartError",
    "NotAvailableError",
    "ServersError",
]


class ServersError(Exception):
    """The root of all errors of this room; its text is for the person at the machine."""


class BadUrlError(ServersError):
    """Somebody named a server by a text that is no URL of one."""


class NotAvailableError(ServersError):
    """The server cannot be had here; the text says what is missing and how to get it."""


class DidNotStartError(ServersError):
    """The server is installed and did not answer in time; the text ends with its own log's end."""


class CannotBreakError(ServersError):
    """The fault cannot be made with this server, or on this machine; the text says why."""
