"""The built-in auth hooks.

`LocalOnly` is what an app has that was given none: it answers this machine's browsers alone. Three
things could still bring strangers in, and each is refused: an address that is not loopback, a name
in ``Host`` that is not this machine's (DNS rebinding: a stranger's page whose name suddenly leads
here), and a proxy in front, which makes everybody's address a loopback one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from workflow_webui.security.passwords import hash_password, is_password, same
from workflow_webui.users import ALL_RIGHTS, READ_ONLY, Right, User

__all__ = ["BasicAuth", "LocalOnly", "TokenAuth", "TrustedHeaderAuth"]

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_REMEMBERED_SECONDS = 300.0
_MOST_REMEMBERED = 1_000


class LocalOnly:
    """Whoever is on this machine, and nobody else.

    Args:
        name: who they are in reasons and in the audit log.
        rights: what they may do.
    """

    challenge = ""

    def __init__(self, name: str = "local", rights: frozenset[Right] = ALL_RIGHTS) -> None:
        self._user = User(name, rights)

    def user(self, connection: HTTPConnection, /) -> User | None:
        """The local user; None for anybody whose way here was longer."""
        if connection.client is None or not _is_loopback(connection.client.host):
            return None
        if any(name in connection.headers for name in _FORWARDED):
            return None
        hosts = connection.headers.getlist("host")
        return self._user if len(hosts) == 1 and _host_name(hosts[0]) in _LOCAL_HOSTS else None


class TokenAuth:
    """``Authorization: Bearer …`` for programs; people give their token once, at ``/login``.

    Args:
        users: by token. Tokens are random and long: 32 characters or more.

    Raises:
        ValueError: a token is shorter.
    """

    challenge = "Bearer"

    def __init__(self, users: Mapping[str, User]) -> None:
        if any(len(token) < 32 for token in users):
            raise ValueError("a token has 32 characters or more: secrets.token_urlsafe() makes one")
        self._by_digest = {_digest(token): user for token, user in users.items()}

    def user(self, connection: HTTPConnection, /) -> User | None:
        """The user of the request's bearer token."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        return self.user_of(token.strip()) if scheme.lower() == "bearer" else None

    def user_of(self, token: str) -> User | None:
        """The user of this token; it is looked up by its digest, so time tells nothing of it."""
        return self._by_digest.get(_digest(token))

    def user_named(self, name: str) -> User | None:
        """The user who logged in under this name, with the rights of today."""
        return next((user for user in self._by_digest.values() if user.name == name), None)


@dataclass(frozen=True)
class _Account:
    password: str
    user: User


class BasicAuth:
    """Name and password in the browser's own dialogue. Only behind TLS, or on this machine.

    What was checked is remembered for five minutes, as a digest: a hash that is slow to guess is
    slow to check, and a page makes several requests.

    Args:
        passwords: by name, as `hash_password` made them.
        rights: by name; all rights where a name is missing.

    Raises:
        ValueError: a password is no hash.
    """

    challenge = 'Basic realm="workflow", charset="UTF-8"'

    def __init__(
        self, passwords: Mapping[str, str], rights: Mapping[str, frozenset[Right]] | None = None
    ) -> None:
        if any(not kept.startswith("scrypt$") for kept in passwords.values()):
            raise ValueError("passwords are kept as hashes: hash_password() makes them")
        given = rights or {}
        self._accounts = {
            name: _Account(kept, User(name, given.get(name, ALL_RIGHTS)))
            for name, kept in passwords.items()
        }
        self._nobody = hash_password("")
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def user(self, connection: HTTPConnection, /) -> User | None:
        """The user whose name and password the request carries."""
        scheme, _, encoded = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        account = self._accounts.get(name)
        # an unknown name takes as long as a wrong password
        kept = self._nobody if account is None else account.password
        is_right = colon == ":" and self._is_good(name, password, kept)
        return account.user if account is not None and is_right else None

    def _is_good(self, name: str, password: str, kept: str) -> bool:
        key = hashlib.sha256(repr((name, password, kept)).encode()).digest()
        now = time.monotonic()
        with self._lock:
            if self._good.get(key, 0.0) > now:
                return True
        if not is_password(password, kept):
            return False
        with self._lock:
            self._good[key] = now + _REMEMBERED_SECONDS
            self._good.move_to_end(key)
            while len(self._good) > _MOST_REMEMBERED:
                self._good.popitem(last=False)
        return True


class TrustedHeaderAuth:
    """A proxy in front has asked for the name, and says it in a header.

    The header counts only from the proxies named here: anybody else could write it too. The proxy
    has to remove it from what comes from outside.

    Args:
        proxies: their addresses or networks, such as ``127.0.0.1`` or ``10.0.0.0/8``.
        user_header: where the name is.
        groups_header: where groups are, separated by commas.
        rights: by group, or by name; what several give is added up.
        default: the rights of users who are in none of them.
        proof: what the proxy says in ``X-Proxy-Proof``, where others share its address; "" where
            the address is proof enough.
    """

    challenge = ""

    def __init__(
        self,
        proxies: Sequence[str],
        *,
        user_header: str = "X-Forwarded-User",
        groups_header: str = "X-Forwarded-Groups",
        rights: Mapping[str, Collection[Right]] | None = None,
        default: frozenset[Right] = READ_ONLY,
        proof: str = "",
    ) -> None:
        if not proxies:
            raise ValueError("name the proxies' addresses: a header that anybody may write is none")
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]
        self._user_header = user_header
        self._groups_header = groups_header
        self._rights = {name: frozenset(given) for name, given in (rights or {}).items()}
        self._default = default
        self._proof = proof

    def user(self, connection: HTTPConnection, /) -> User | None:
        """The user whom the proxy names; None where it is no proxy, or names none or two."""
        if connection.client is None or not self._is_proxy(connection.client.host):
            return None
        if self._proof and not same(connection.headers.get("x-proxy-proof", ""), self._proof):
            return None
        names = connection.headers.getlist(self._user_header)
        if len(names) != 1 or not names[0].strip():
            return None
        name = names[0].strip()
        groups = [
            group.strip()
            for header in connection.headers.getlist(self._groups_header)
            for group in header.split(",")
        ]
        given = [self._rights[each] for each in (name, *groups) if each in self._rights]
        return User(name, frozenset[Right]().union(*given) if given else self._default)

    def _is_proxy(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._proxies)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    """Without the port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
