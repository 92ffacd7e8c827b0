"""The command `scripts/services`: real servers on this machine, for tests and for people."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from workflow_adaptertest.servers.errors import NotAvailableError, ServersError
from workflow_adaptertest.servers.fleet import Fleet
from workflow_adaptertest.servers.install import install
from workflow_adaptertest.servers.kinds import KINDS, kind
from workflow_adaptertest.servers.resolver import FOLDER_VARIABLE

__all__ = ["main"]

_DESCRIPTION = f"""\
Real servers on this machine, as ordinary processes on free ports of the loopback interface.

  install [NAME…]         get what they need: system packages (as root), Java archives, programs
  start [NAME…]           start them side by side, wait until all answer; they stay until stopped
  stop [NAME…]            end them; their data stays for the next start
  status                  which are there, where, in which version
  urls                    assignments for the environment of a test run
  run [NAME…] -- COMMAND  run a command with these in its environment; those started for it end
                          with it, and those not installed are left out

Without NAME it is all of them: {", ".join(KINDS)}.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers the exit code; what went wrong is said on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    split = words.index("--") if "--" in words else len(words)
    given = _parser().parse_args(words[:split])
    try:
        names = [kind(name).name for name in given.names] or list(KINDS)
        fleet = Fleet(given.folder.resolve())
        if given.command == "run":
            return _run(fleet, names, words[split + 1 :])
        begin = time.monotonic()
        lines = _COMMANDS[given.command](fleet, names)
        if lines is None:
            lines = [f"{given.command}: {', '.join(names)}: {time.monotonic() - begin:.1f} s"]
    except ServersError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/services",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="where all of it is kept")
    parser.add_argument("command", choices=[*_COMMANDS, "run"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    return parser


def _install(fleet: Fleet, names: Sequence[str]) -> None:
    with fleet.alone():
        install([kind(name) for name in names], fleet.tools)


def _start(fleet: Fleet, names: Sequence[str]) -> None:
    fleet.start(names, kept=True)


def _stop(fleet: Fleet, names: Sequence[str]) -> None:
    fleet.stop(names)


def _status(fleet: Fleet, names: Sequence[str]) -> list[str]:
    lines: list[str] = []
    entries = fleet.entries()
    for name in names:
        if name in entries:
            state = "up" if fleet.is_up(name) else "DOWN"
            version = entries[name].version or "never answered"
            lines.append(f"{name}: {state}, {version}, {fleet.url(name)}")
        else:
            lines.append(f"{name}: {kind(name).missing(fleet.tools) or 'installed, not started'}")
    return lines


def _urls(fleet: Fleet, names: Sequence[str]) -> list[str]:
    values = _environment(fleet, names)
    return [f"export {variable}={shlex.quote(value)}" for variable, value in values.items()]


_COMMANDS = {
    "install": _install,
    "start": _start,
    "stop": _stop,
    "status": _status,
    "urls": _urls,
}


def _run(fleet: Fleet, names: Sequence[str], command: Sequence[str]) -> int:
    available = [name for name in names if not kind(name).missing(fleet.tools)]
    if not command:
        raise NotAvailableError("run needs a command, after --")
    with fleet.used():
        fleet.start(available)
        environment = {**os.environ, **_environment(fleet, available)}
        return subprocess.run(command, env=environment, check=False).returncode


def _environment(fleet: Fleet, names: Sequence[str]) -> Mapping[str, str]:
    there = [name for name in fleet.entries() if name in names]
    urls = {kind(name).variable: str(fleet.url(name)) for name in there}
    return {FOLDER_VARIABLE: str(fleet.folder), **urls}


if __name__ == "__main__":
    sys.exit(main())
