"""Certificates of our own for a server on the loopback interface."""

from __future__ import annotations

from pathlib import Path

from workflow_adaptertest.servers.place import Tools
from workflow_adaptertest.servers.recipes import run

__all__ = ["certify"]

_CONFIG = """
[req]
distinguished_name = nobody
[nobody]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1
"""
_DAYS = "3650"


def certify(folder: Path, tools: Tools) -> None:
    """Makes ``ca.pem`` and ``server.pem`` (key and certificates in one), unless they are there.

    Interrupted, it leaves no ``server.pem`` behind, and the next call makes both anew.
    """
    complete = folder / "server.pem"
    if complete.exists():
        return
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG, encoding="ascii")
    request = [tools.need("openssl"), "req", "-x509", "-config", str(config), "-days", _DAYS]
    request += ["-newkey", "rsa:2048", "-nodes"]
    authority = ["-subj", "/CN=workflow tests", "-extensions", "authority"]
    run([*request, *authority, "-keyout", "ca.key", "-out", "ca.pem"], folder=folder)
    server = ["-subj", "/CN=localhost", "-extensions", "server", "-CA", "ca.pem"]
    files = ["-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.crt"]
    run([*request, *server, *files], folder=folder)
    parts = [folder / name for name in ("server.key", "server.crt", "ca.pem")]
    new = folder / "server.pem.new"
    new.write_text("".join(part.read_text(encoding="ascii") for part in parts), encoding="ascii")
    new.rename(complete)
