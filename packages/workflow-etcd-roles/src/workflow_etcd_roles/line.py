"""One HTTP/2 connection to one member, and what goes over it."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from etcd3 import etcdrpc

from workflow_etcd_roles.endpoints import Endpoint
from workflow_etcd_roles.requests import Message

__all__ = ["Line", "OpenRequest", "Tls"]

_OPTIONS = (
    # each line is a TCP connection of its own: thrown away means closed
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
)


class Tls:
    """What a secure connection needs, as read from files.

    Args:
        ca: certificates of the authorities that sign etcd's; None: the system's.
        certificate: this client's, where etcd asks for one.
        key: its key.
    """

    def __init__(
        self, *, ca: bytes | None = None, certificate: bytes | None = None, key: bytes | None = None
    ) -> None:
        self.credentials = grpc.ssl_channel_credentials(ca, key, certificate)


class Line:
    """A connection to one member, opened by the first call.

    Attributes:
        channel: gRPC's.
        calls: by the type of their request.
        keep_alive: the stream of that name.
        watch: the stream of that name.
    """

    def __init__(self, endpoint: Endpoint, tls: Tls | None) -> None:
        if endpoint.secure:
            credentials = (tls or Tls()).credentials
            self.channel = grpc.secure_channel(endpoint.target, credentials, options=_OPTIONS)
        else:
            self.channel = grpc.insecure_channel(endpoint.target, options=_OPTIONS)
        keys, leases = etcdrpc.KVStub(self.channel), etcdrpc.LeaseStub(self.channel)
        self.calls: dict[type, Any] = {
            etcdrpc.AuthenticateRequest: etcdrpc.AuthStub(self.channel).Authenticate,
            etcdrpc.LeaseGrantRequest: leases.LeaseGrant,
            etcdrpc.LeaseRevokeRequest: leases.LeaseRevoke,
            etcdrpc.RangeRequest: keys.Range,
            etcdrpc.StatusRequest: etcdrpc.MaintenanceStub(self.channel).Status,
            etcdrpc.TxnRequest: keys.Txn,
        }
        self.keep_alive = leases.LeaseKeepAlive
        self.watch = etcdrpc.WatchStub(self.channel).Watch


class OpenRequest:
    """The one request of a stream that stays open until it is ended.

    An iterator that simply ended would close our half of the stream, which proxies take for the
    end of the whole.
    """

    def __init__(self, request: Message) -> None:
        self._request = request
        self._sent = False
        self._ended = threading.Event()

    def __iter__(self) -> OpenRequest:
        return self

    def __next__(self) -> Message:
        if not self._sent:
            self._sent = True
            return self._request
        self._ended.wait()
        raise StopIteration

    def end(self) -> None:
        """Nothing more is to come."""
        self._ended.set()
