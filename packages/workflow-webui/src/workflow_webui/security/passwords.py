"""Passwords and tokens: kept as hashes, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

__all__ = ["hash_password", "is_password", "same"]

_N, _R, _P = 2**14, 8, 1  # 16 MB and some 40 ms a try
_SCHEME = "scrypt"


def hash_password(password: str) -> str:
    """What to keep in a configuration instead of the password: ``scrypt$salt$hash``."""
    salt = secrets.token_bytes(16)
    return "$".join((_SCHEME, _text(salt), _text(_digest(password, salt))))


def is_password(password: str, kept: str) -> bool:
    """Whether this is the password of which `kept` is the hash; False for what is no hash."""
    scheme, _, rest = kept.partition("$")
    salt, _, digest = rest.partition("$")
    if scheme != _SCHEME:
        return False
    try:
        wanted = base64.b64decode(digest, validate=True)
        found = _digest(password, base64.b64decode(salt, validate=True))
    except ValueError:
        return False
    return hmac.compare_digest(found, wanted)


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
