"""A connection to the cluster: any member that answers will do.

All that a process does goes through one member at a time, over one HTTP/2 connection: keep-alives,
transactions, the watch. When a call there fails or is not answered in time, that connection is
thrown away with all that hangs on it and the next member is tried: so the keep-alives, which come
regularly, find a dead connection for the watch too, and nothing has to be pinged. A failed
connection is never used again, because one that a network has forgotten looks alive for ever.

Every request may be sent twice: transactions are guarded by conditions, leases have ids that this
process chose, and all others only read or remove.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
from etcd3 import etcdrpc
from workflow_core.errors import AdapterUnavailableError, ClosedError

from workflow_etcd_roles.endpoints import Endpoint
from workflow_etcd_roles.failures import is_for_elsewhere, is_of_old_token, meaning, words
from workflow_etcd_roles.line import Line, OpenRequest, Tls
from workflow_etcd_roles.requests import Message

__all__ = ["Connection"]

_TRY = 2.0  # seconds for one member, before the next one is asked
_FIRST_PAUSE = 0.05  # seconds, when all members have failed
_LAST_PAUSE = 0.5

_WITH_LEADER = ("hasleader", "true")  # a member that lost the others ends the stream


class Connection:
    """Requests to the cluster, and streams. Any thread.

    Args:
        endpoints: the members' addresses.
        adapter: whose errors these are.
        tls: for the secure ones among them.
        user: "" without authentication.
        password: of the user.
        timeout: how long a request looks for a member that answers.

    Attributes:
        timeout: the same in seconds.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        adapter: str,
        tls: Tls | None = None,
        user: str = "",
        password: str = "",
        timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._adapter = adapter
        self._tls = tls
        self._user = user
        self._password = password
        self.timeout = timeout.total_seconds()
        self._next = random.randrange(len(self._endpoints))  # not all processes at one member
        self._lock = threading.Lock()  # of all below
        self._current: Line | None = None
        self._calls: dict[Any, Line] = {}  # under way, but for those that end the session
        self._token = ""
        self._interrupted = threading.Event()
        self._closed = False

    # -- requests ------------------------------------------------------------------------------

    def ask(
        self, request: Message, *, doing: str, timeout: float | None = None, final: bool = False
    ) -> Message:
        """The cluster's answer, from whichever member gives it.

        Args:
            request: may be sent more than once.
            doing: for errors: "taking roles".
            timeout: seconds to look for a member that answers; None: as set.
            final: the request is part of ending, and `interrupt` does not end it.

        Raises:
            AdapterUnavailableError: no answer; it may have been carried out all the same.
            LeaseGoneError: a lease that it names does not exist.
            ClosedError: interrupted.
            AdapterError: refused for good.
        """
        timeout = self.timeout if timeout is None else timeout
        end = time.monotonic() + timeout
        longest = min(_TRY, timeout / len(self._endpoints))  # so that every member may be asked
        pause = _FIRST_PAUSE
        failures = 0
        while True:
            rest = end - time.monotonic()
            try:
                return self.ask_once(
                    request, doing=doing, timeout=max(min(rest, longest), 0.001), final=final
                )
            except AdapterUnavailableError:
                if end - time.monotonic() <= pause:
                    raise
            failures += 1
            if failures % len(self._endpoints) == 0:
                if final:
                    time.sleep(pause)
                else:
                    self.pause(pause)
                pause = min(2 * pause, _LAST_PAUSE)

    def ask_once(
        self, request: Message, *, doing: str, timeout: float, final: bool = False
    ) -> Message:
        """The answer of the member in use; as `ask`, but no other one is tried."""
        return self._attempt(
            lambda line, **options: line.calls[type(request)].future(request, **options),
            lambda call: call.result(),
            doing=doing,
            timeout=timeout,
            final=final,
            signed=not isinstance(request, etcdrpc.AuthenticateRequest),
        )

    def keep_alive(self, lease: int, *, timeout: float) -> Message:
        """Renew a lease once, at the member in use; the answer's ``TTL`` is 0 when it is gone.

        Raises:
            AdapterUnavailableError: no answer.
            ClosedError: interrupted.
            AdapterError: refused for good.
        """
        requests = OpenRequest(etcdrpc.LeaseKeepAliveRequest(ID=lease))
        try:
            return self._attempt(
                lambda line, **options: line.keep_alive(requests, **options),
                next,
                doing="renewing the lease",
                timeout=timeout,
            )
        finally:
            requests.end()

    @contextmanager
    def stream(self, request: Message) -> Iterator[Iterator[Message]]:
        """What a watch answers, until it breaks or is ended; answers of a broken one just end.

        Raises:
            AdapterUnavailableError: the stream broke; from within the block.
            ClosedError: interrupted.
            AdapterError: refused for good.
        """
        requests = OpenRequest(request)
        line, options = self._prepare(signed=True)
        options["metadata"] = (*options["metadata"], _WITH_LEADER)
        call = self._begin(line, lambda: line.watch(requests, **options), final=False)
        try:
            yield call
            self._drop(line)
        except grpc.RpcError as error:
            self._judge(error, line, doing="watching the roles")
        finally:
            requests.end()
            self._end(call)

    def refuse_token(self) -> None:
        """The cluster took our token for invalid where no status code says so: get another."""
        with self._lock:
            self._token = ""

    def pause(self, seconds: float) -> bool:
        """Wait; True as soon as the connection is interrupted."""
        return self._interrupted.wait(seconds)

    # -- ending --------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """End all calls, those under way and those to come, with `ClosedError`; not final ones."""
        with self._lock:
            self._interrupted.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    def close(self) -> None:
        """Give the connection back. Twice is harmless."""
        self.interrupt()
        with self._lock:
            self._closed = True
            line, self._current = self._current, None
        if line is not None:
            line.channel.close()

    # -- one attempt ---------------------------------------------------------------------------

    def _attempt(
        self,
        begin: Callable[..., Any],
        finish: Callable[[Any], Message],
        *,
        doing: str,
        timeout: float,
        final: bool = False,
        signed: bool = True,
    ) -> Message:
        for attempt in (1, 2):
            line, options = self._prepare(signed=signed)
            call = None
            try:
                call = self._begin(line, lambda: begin(line, timeout=timeout, **options), final)  # noqa: B023 - called at once
                return finish(call)
            except grpc.RpcError as error:
                if attempt == 1 and self._renews_token(error, options):
                    continue
                self._judge(error, line, doing=doing)
            except grpc.FutureCancelledError as error:  # by `interrupt`, or with a dropped line
                if self._interrupted.is_set():
                    raise self._closed_error() from error
                raise self._unavailable(doing, "cancelled") from error
            except StopIteration:
                self._drop(line)
                raise self._unavailable(doing, "no answer") from None
            finally:
                if call is not None:
                    self._end(call)
        raise AssertionError("unreachable")

    def _prepare(self, *, signed: bool) -> tuple[Line, dict[str, Any]]:
        """The line in use, and the options of a call on it."""
        metadata = (("token", self._signed()),) if signed and self._user else ()
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._current is None:
                self._current = Line(self._endpoints[self._next], self._tls)
            return self._current, {"metadata": metadata}

    def _begin(self, line: Line, begin: Callable[[], Any], final: bool) -> Any:
        try:
            call = begin()
        except ValueError as error:  # another thread has thrown the line away meanwhile
            self._drop(line)
            raise self._unavailable("asking etcd", "the connection was closed") from error
        if not final:
            with self._lock:
                self._calls[call] = line
                late = self._interrupted.is_set() or self._current is not line
            if late:
                call.cancel()
        return call

    def _end(self, call: Any) -> None:
        with self._lock:
            self._calls.pop(call, None)
        call.cancel()

    def _drop(self, line: Line) -> None:
        """Throw away a line that failed, with all that hangs on it; the next member is next."""
        with self._lock:
            if self._current is line:
                self._current = None
                self._next = (self._next + 1) % len(self._endpoints)
        line.channel.close()

    def _signed(self) -> str:
        """The token to sign requests with."""
        with self._lock:
            if self._token:
                return self._token
        request = etcdrpc.AuthenticateRequest(name=self._user, password=self._password)
        token = str(self.ask_once(request, doing="logging in", timeout=_TRY).token)
        with self._lock:
            self._token = token
        return token

    def _renews_token(self, error: grpc.RpcError, options: dict[str, Any]) -> bool:
        """Whether it was only that our token has expired, or that users were changed since."""
        if options["metadata"] and is_of_old_token(error):
            self.refuse_token()
            return True
        return False

    # -- errors --------------------------------------------------------------------------------

    def _judge(self, error: grpc.RpcError, line: Line, *, doing: str) -> None:
        """Raise what a failed call means."""
        if is_for_elsewhere(error):
            if self._interrupted.is_set():
                raise self._closed_error() from error
            self._drop(line)
            raise self._unavailable(doing, words(error)) from error
        raise meaning(error, doing=doing, adapter=self._adapter) from error

    def _unavailable(self, doing: str, why: str) -> AdapterUnavailableError:
        members = ", ".join(endpoint.target for endpoint in self._endpoints)
        return AdapterUnavailableError(
            f"{doing} failed: no answer from etcd at {members} ({why})", adapter=self._adapter
        )

    def _closed_error(self) -> ClosedError:
        return ClosedError("the role scheduler was closed", adapter=self._adapter)
