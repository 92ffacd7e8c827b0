"""What a url asks of TLS, for PyMySQL, as a context of our own.

SQLAlchemy gathers some of the options into a mapping, PyMySQL forgets that mapping where others
stand beside it, takes every text for true, "false" among them, and checks no host without a file of
authorities. Here each option means what it says:

- ``ssl_ca``, ``ssl_capath``: whose signature counts; without them, the system's authorities.
- ``ssl_cert``, ``ssl_key``, ``ssl_cipher``: what we show, and how to talk.
- ``ssl_verify_cert``: whether the server's certificate has to be signed by one of them; true where
  one is named or the identity is asked for.
- ``ssl_verify_identity``: whether it has to be made out to the url's host; true where an authority
  is named, unless ``ssl_verify_cert`` is false.
- ``ssl_disabled``: no TLS. Without any of all these it is used where the server has it, unchecked.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from workflow_core.errors import ConfigurationError

__all__ = ["with_tls"]

_FILES = ("ca", "capath", "cert", "key", "cipher")
_SWITCHES = ("disabled", "verify_cert", "verify_identity", "check_hostname")
_YES = {"true", "1", "yes", "on"}
_NO = {"false", "0", "no", "off"}


def with_tls(named: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's arguments, with a context in place of all that is said about TLS.

    Raises:
        ConfigurationError: an option is neither true nor false, a file cannot be read or is none.
    """
    rest = {name: value for name, value in named.items() if not name.startswith("ssl")}
    told = {**named.get("ssl", {}), **{n[4:]: v for n, v in named.items() if n.startswith("ssl_")}}
    files = {name: told.pop(name) for name in _FILES if name in told}
    switches = {name: _truth(name, told.pop(name)) for name in _SWITCHES if name in told}
    if told:
        raise ConfigurationError(
            f"the url has unknown options: {', '.join(f'ssl_{name}' for name in sorted(told))}",
            adapter="sql",
            hint="See the part on TLS of the page on databases",
        )
    if switches.pop("disabled", False):
        return {**rest, "ssl_disabled": True}
    if not files and not switches:
        return rest
    return {**rest, "ssl": _context(files, switches)}


def _context(files: Mapping[str, str], switches: Mapping[str, bool]) -> ssl.SSLContext:
    has_authority = "ca" in files or "capath" in files
    looks_for_host = switches.get("verify_identity", switches.get("check_hostname"))
    looks = switches.get("verify_cert", has_authority or bool(looks_for_host))
    try:
        context = ssl.create_default_context(cafile=files.get("ca"), capath=files.get("capath"))
        if "cert" in files:
            context.load_cert_chain(files["cert"], files.get("key"))
        if "cipher" in files:
            context.set_ciphers(files["cipher"])
    except OSError:  # an SSLError is one too; its words show the path
        raise ConfigurationError(
            "the files that the url's ssl_… options name cannot be read, or are no certificates",
            adapter="sql",
            hint="Look at " + ", ".join(f"ssl_{name}" for name in files),
        ) from None
    # what MySQL makes for itself when it is installed is refused by the strictest rules
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = looks and (looks_for_host is None or looks_for_host)
    context.verify_mode = ssl.CERT_REQUIRED if looks else ssl.CERT_NONE
    return context


def _truth(name: str, value: object) -> bool:
    word = str(value).lower()
    if word not in _YES | _NO:
        raise ConfigurationError(f"the url's ssl_{name} is neither true nor false", adapter="sql")
    return word in _YES
