"""The command `scripts/services`: real servers on this machine, for tests and for people."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from workflow_adaptertest.servers.errors import ServersError
from workflow_adaptertest.servers.fleet import Fleet
from workflow_adaptertest.servers.install import install
from workflow_adaptertest.servers.kinds import KINDS, kind
from workflow_adaptertest.servers.resolver import FOLDER_VARIABLE

__all__ = ["main"]

_DESCRIPTION = f"""\
Real servers on this machine, as ordinary processes on free ports of the loopback interface.

  install [NAME…]   get what the servers need: system packages (as root), Java archives, programs
  start [NAME…]     start them side by side, wait until all answer; they stay until they are stopped
  stop [NAME…]      end them; their data stays for the next start
  status            which are there, where, in which version
  urls              what they are reached by, as assignments for the environment of a test run

Without NAME it is all of them: {", ".join(KINDS)}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers the exit code; what went wrong is said on standard error."""
    parser = argparse.ArgumentParser(
        prog="scripts/services",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="where all of it is kept")
    parser.add_argument("command", choices=["install", "start", "stop", "status", "urls"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args(arguments)
    fleet = Fleet(given.folder.resolve())
    begin = time.monotonic()
    try:
        names = [kind(name).name for name in given.names] or list(KINDS)
        if given.command == "install":
            with fleet.alone():
                install([kind(name) for name in names], fleet.tools)
        elif given.command == "start":
            fleet.start(names, kept=True)
        elif given.command == "stop":
            fleet.stop(names)
    except ServersError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    told = {"status": _status, "urls": _urls}.get(given.command)
    done = f"{given.command}: {', '.join(names)}: {time.monotonic() - begin:.1f} s"
    sys.stdout.write("\n".join(told(fleet) if told else [done]) + "\n")
    return 0


def _status(fleet: Fleet) -> list[str]:
    lines: list[str] = []
    for name, one in KINDS.items():
        entry = fleet.entries().get(name)
        missing = one.missing(fleet.tools)
        if entry is not None:
            state = "up" if fleet.is_up(name) else "DOWN"
            lines.append(f"{name}: {state}, {entry.version or 'never answered'}, {fleet.url(name)}")
        else:
            lines.append(f"{name}: {missing or 'installed, not started'}")
    return lines


def _urls(fleet: Fleet) -> list[str]:
    values = {FOLDER_VARIABLE: str(fleet.folder)}
    values |= {kind(name).variable: str(fleet.url(name)) for name in fleet.entries()}
    return [f"export {variable}={shlex.quote(value)}" for variable, value in values.items()]


if __name__ == "__main__":
    sys.exit(main())
