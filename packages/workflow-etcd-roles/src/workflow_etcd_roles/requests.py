"""etcd's requests, as short words.

The messages are those that python3-etcd3 generated from etcd's own definitions. Its client is not
used, for good reasons: a watch whose stream breaks dies on a name that was never imported; a
token that has expired is never renewed; an endpoint that failed is not tried again for five
minutes; a transaction cannot hold another one, so two hundred roles would take two hundred
requests; and none of its calls can be ended from another thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from etcd3 import etcdrpc

__all__ = [
    "Message",
    "after",
    "compare_lease",
    "created",
    "delete",
    "get",
    "nested",
    "none_older",
    "oldest",
    "put",
    "revocation",
    "transaction",
    "under",
    "value_is",
]

Message = Any
"""A protobuf message: python3-etcd3 comes without types that a checker would find."""

_Compare = etcdrpc.Compare
_Op = etcdrpc.RequestOp


def after(prefix: bytes) -> bytes:
    """The first key that does not begin with `prefix`, as the end of a range."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"


def under(prefix: bytes, **options: Any) -> Message:
    """Every key that begins with `prefix`."""
    return etcdrpc.RangeRequest(key=prefix, range_end=after(prefix), **options)


def get(key: bytes) -> Message:
    """As part of a transaction: one key."""
    return _Op(request_range=etcdrpc.RangeRequest(key=key))


def oldest(prefix: bytes) -> Message:
    """As part of a transaction: the key under `prefix` that was created first."""
    first = {
        "sort_order": etcdrpc.RangeRequest.ASCEND,
        "sort_target": etcdrpc.RangeRequest.CREATE,
        "limit": 1,
    }
    return _Op(request_range=under(prefix, **first))


def put(key: bytes, value: bytes, *, lease: int = 0, told: bool = False) -> Message:
    """As part of a transaction: write a key; `told`: and tell what stood there before."""
    return _Op(
        request_put=etcdrpc.PutRequest(key=key, value=value, lease=lease, prev_kv=told),
    )


def delete(key: bytes) -> Message:
    """As part of a transaction: remove a key."""
    return _Op(request_delete_range=etcdrpc.DeleteRangeRequest(key=key))


def nested(inner: Message) -> Message:
    """A transaction as part of another one: it has conditions of its own, and one revision."""
    return _Op(request_txn=inner)


def revocation(lease: int) -> Message:
    """End a lease, and remove all keys that hang on it."""
    return etcdrpc.LeaseRevokeRequest(ID=lease)


def transaction(
    conditions: Iterable[Message], then: Iterable[Message], otherwise: Sequence[Message] = ()
) -> Message:
    """If all conditions hold, do the one, else the other."""
    return etcdrpc.TxnRequest(compare=conditions, success=then, failure=otherwise)


def created(key: bytes, revision: int, *, range_end: bytes = b"") -> Message:
    """The key was created at this revision; 0: there is none. Over a range: none in all of it."""
    return _Compare(
        result=_Compare.EQUAL,
        target=_Compare.CREATE,
        key=key,
        range_end=range_end,
        create_revision=revision,
    )


def none_older(prefix: bytes, revision: int) -> Message:
    """Nothing under `prefix` was created before this revision."""
    return _Compare(
        result=_Compare.GREATER,
        target=_Compare.CREATE,
        key=prefix,
        range_end=after(prefix),
        create_revision=revision - 1,
    )


def value_is(key: bytes, value: bytes) -> Message:
    """The key is there, with this value."""
    return _Compare(result=_Compare.EQUAL, target=_Compare.VALUE, key=key, value=value)


def compare_lease(key: bytes, lease: int) -> Message:
    """The key hangs on this lease."""
    return _Compare(result=_Compare.EQUAL, target=_Compare.LEASE, key=key, lease=lease)
