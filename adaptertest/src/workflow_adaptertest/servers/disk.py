"""Small disks of a server's own, and how to fill them."""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
from pathlib import Path

from workflow_adaptertest.servers.errors import CannotBreakError, NotAvailableError
from workflow_adaptertest.servers.place import Node

__all__ = ["fill", "free", "mount", "unmount"]

_BALLAST = "ballast"
_CHUNK = b"\0" * (1 << 20)


def mount(node: Node) -> None:
    """Mounts the node's small disk, unless it is mounted.

    Raises:
        NotAvailableError: this process may not mount.
    """
    node.disk.mkdir(exist_ok=True)
    if node.disk.is_mount():
        return
    account = pwd.getpwnam(node.user) if node.user else None
    owner = f",uid={account.pw_uid},gid={account.pw_gid}" if account else ""
    options = f"size={node.disk_megabytes}m,mode=0700{owner}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(node.disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotAvailableError(f"a small disk needs the program mount: {error}") from error
    if done.returncode:
        raise NotAvailableError(f"a small disk needs the right to mount: {done.stderr.strip()}")


def unmount(node: Node) -> None:
    """Gives the disk back, with all that is on it; nobody may use it any more."""
    if node.disk.is_mount():
        subprocess.run(["umount", str(node.disk)], check=True)


def fill(node: Node) -> None:
    """Leaves not one byte free on the node's disk.

    Raises:
        CannotBreakError: it has no disk of its own; filling the machine's would hurt others.
    """
    ballast = _ballast(node)
    with ballast.open("ab", buffering=0) as file:
        size = len(_CHUNK)
        while size:
            try:
                file.write(_CHUNK[:size])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2


def free(node: Node) -> None:
    """Takes away what `fill` wrote."""
    _ballast(node).unlink(missing_ok=True)


def _ballast(node: Node) -> Path:
    if not node.disk_megabytes or not os.path.ismount(node.disk):
        raise CannotBreakError("only the disk of a server ...-small-disk can be filled")
    return node.disk / _BALLAST
