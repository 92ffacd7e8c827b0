"""What a failed call means, in our words."""

from __future__ import annotations

import grpc
from workflow_core.errors import AdapterError

__all__ = [
    "LeaseGoneError",
    "is_already_there",
    "is_for_elsewhere",
    "is_of_old_token",
    "meaning",
    "words",
]

_Code = grpc.StatusCode
_ELSEWHERE = frozenset(
    {
        _Code.UNAVAILABLE,
        _Code.DEADLINE_EXCEEDED,
        _Code.CANCELLED,
        _Code.INTERNAL,
        _Code.UNKNOWN,
        _Code.ABORTED,
        _Code.RESOURCE_EXHAUSTED,
    }
)
_HINTS = {
    _Code.PERMISSION_DENIED: "Give the user's role read and write on all keys below the prefix",
    _Code.INVALID_ARGUMENT: "Look at user and password",
    _Code.UNAUTHENTICATED: "Look at user and password",
    _Code.FAILED_PRECONDITION: "Look at user and password, and whether the cluster has any",
}


class LeaseGoneError(AdapterError):
    """The lease that a request hangs on has run out or was revoked."""


def is_for_elsewhere(error: grpc.RpcError) -> bool:
    """Whether another member, or the same one a little later, may answer."""
    return error.code() in _ELSEWHERE


def is_of_old_token(error: grpc.RpcError) -> bool:
    """Whether the call was only refused because its token has expired, or users have changed."""
    return error.code() == _Code.UNAUTHENTICATED or "auth store is old" in (error.details() or "")


def is_already_there(error: AdapterError) -> bool:
    """Whether a lease was refused because there is one of this id."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and "lease already exists" in (cause.details() or "")


def meaning(error: grpc.RpcError, *, doing: str, adapter: str) -> AdapterError:
    """The error for a call that was refused for good."""
    if error.code() == _Code.NOT_FOUND:
        return LeaseGoneError(f"{doing} failed: the lease has run out", adapter=adapter)
    return AdapterError(
        f"{doing} failed: etcd refused it ({words(error)})",
        adapter=adapter,
        hint=_HINTS.get(error.code(), ""),
    )


def words(error: grpc.RpcError) -> str:
    """A phrase: etcd's own where there is one, gRPC's are long and full of its internals."""
    details = str(error.details() or "")
    if details.startswith("etcdserver: "):
        return details.removeprefix("etcdserver: ")
    return str(error.code().name).lower().replace("_", " ")
