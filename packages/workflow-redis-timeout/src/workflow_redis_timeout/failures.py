"""The driver's errors: which of them may pass, and what they are called here.

Of a driver's text, which may hold data, an error of ours tells only the server's code.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as NoAnswerError
from workflow_core.errors import AdapterError, AdapterUnavailableError

__all__ = ["ADAPTER", "DRIVER_ERRORS", "is_silence", "may_pass", "translated"]

ADAPTER = "redis"
DRIVER_ERRORS = (RedisError, RedisClusterException)
"""All that the driver raises."""

_CODE = re.compile(r"-?([A-Z]+)\b")
_NO_CLUSTER = "cluster support disabled"

# what a server answers that will serve again, and what a person should know about it
_PASSING = {
    "LOADING": "It is reading its data from disk",
    "READONLY": "It is a replica: is a fail-over under way, or does the URL lead to the wrong one?",
    "MASTERDOWN": "It is a replica that has lost its primary",
    "CLUSTERDOWN": "Part of the cluster's slots is served by nobody",
    "TRYAGAIN": "The cluster is moving the slot",
    "MOVED": "The cluster has moved the slot",
    "ASK": "The cluster is moving the slot",
    "BUSY": "Another client's script holds it up",
    "OOM": "It has reached maxmemory: give it more, or remove what fills it",
    "MISCONF": "It cannot write to its disk and takes no writes until it can",
    "NOREPLICAS": "Fewer replicas follow it than min-replicas-to-write asks for",
}
# redis-py takes the code out of the texts of these
_CODES: Mapping[type[BaseException], str] = {
    BusyLoadingError: "LOADING",
    ReadOnlyError: "READONLY",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
    MovedError: "MOVED",
    AskError: "ASK",
    OutOfMemoryError: "OOM",
    NoPermissionError: "NOPERM",
}
_UNANSWERED = (LostConnectionError, NoAnswerError, ClusterError, RedisClusterException)


def may_pass(error: Exception) -> bool:
    """Whether the same call may be answered a little later."""
    return is_silence(error) or _code(_reason(error)) in _PASSING


def is_silence(error: Exception) -> bool:
    """Whether no server answered that could."""
    reason = _reason(error)
    if _is_no_entry(reason) or _distrust(reason) is not None:
        return False
    return isinstance(reason, _UNANSWERED)


def translated(error: Exception, doing: str) -> AdapterError:
    """The error of ours for the driver's; to be raised from it."""
    reason = _reason(error)
    kind = type(reason).__name__
    distrust = _distrust(reason)
    if _is_no_entry(reason):
        return AdapterError(
            f"{doing}: Redis does not let this user in or do it ({kind})",
            adapter=ADAPTER,
            hint="The documentation of this adapter lists the rights that a user needs",
        )
    if distrust is not None:
        return AdapterError(
            f"{doing}: Redis' certificate is not trusted ({distrust.verify_message})",
            adapter=ADAPTER,
            hint="See the settings ca_file and check_hostname",
        )
    if may_pass(error):
        return AdapterUnavailableError(
            f"{doing}: Redis does not serve ({kind})",
            adapter=ADAPTER,
            hint=_PASSING.get(_code(reason), "") or _tls(reason),
        )
    refused = AdapterError.of(ADAPTER, reason, doing=doing)
    if _NO_CLUSTER in str(reason):
        refused.hint = "This is no Redis Cluster: begin the URL with redis:// or rediss://"
    return refused


def _reason(error: BaseException) -> BaseException:
    """What made the cluster's client give up; any other error itself."""
    while isinstance(error, RedisClusterException):
        inner = error.__cause__ or error.__context__
        if not isinstance(inner, DRIVER_ERRORS):
            break
        error = inner
    return error


def _is_no_entry(error: BaseException) -> bool:
    return isinstance(error, (AuthenticationError, AuthorizationError)) or _code(error) == "NOPERM"


def _distrust(error: BaseException) -> ssl.SSLCertVerificationError | None:
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return each
    return None


def _tls(error: BaseException) -> str:
    for each in _chain(error):
        if isinstance(each, ssl.SSLError):
            return f"TLS fails: {each.reason or 'no reason given'}"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(error: BaseException) -> str:
    """The word by which the server says what is wrong."""
    by_type = _CODES.get(type(error))
    if by_type is not None:
        return by_type
    found = _CODE.match(str(error)) if isinstance(error, ResponseError) else None
    return found.group(1) if found else ""
