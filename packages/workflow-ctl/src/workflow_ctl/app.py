"""The command itself: its groups and commands, and its ways to end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from workflow_ctl.base import Group, say, tell_json, unexpected
from workflow_ctl.commands.acting import callback, trigger
from workflow_ctl.commands.guarding import guard
from workflow_ctl.commands.letters import letters
from workflow_ctl.commands.looking import graph, runs, stats, why
from workflow_ctl.commands.moving import move
from workflow_ctl.commands.schedules import schedules
from workflow_ctl.commands.serving import run
from workflow_ctl.commands.setup import adapters, check, config, db
from workflow_ctl.commands.ui import ui
from workflow_ctl.commands.workers import workers
from workflow_ctl.exits import Exit

__all__ = ["cli", "main"]

_UNWRITABLE = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_CODES = "\n".join(f"  {code.value:<4}{code.name.lower().replace('_', ' ')}" for code in Exit)


class _Root(Group):
    """Where the output ends before the command does, that is no mistake of ours."""

    def make_context(self, *words: Any, **more: Any) -> click.Context:
        with _output_may_end():
            return super().make_context(*words, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _output_may_end():
            return super().invoke(ctx)


class OutputError(click.ClickException):
    """What was to be told cannot be written."""


@contextmanager
def _output_may_end() -> Iterator[None]:
    """Its reader may leave, as `head` does, and its disk may be full."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (OSError, SystemExit) as end:
        # rich ends the process by itself, with a code that is an answer of ours
        cause = end if isinstance(end, OSError) else end.__context__
        if not isinstance(cause, OSError) or not _is_of_output(cause):
            raise
        # what is left to be flushed is not missed, or could not be written either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(cause, BrokenPipeError):
            raise OutputError(
                f"the output cannot be written: {cause.strerror}; what was done is done"
            ) from end
        before = cause.__context__
        code = before.exit_code if isinstance(before, click.exceptions.Exit) else Exit.OK
        raise click.exceptions.Exit(code) from end


def _is_of_output(error: OSError) -> bool:
    """Not of a file that was to be opened: such errors name it."""
    return error.filename is None and error.errno in _UNWRITABLE


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nExit codes:\n{_CODES}",
)
@click.version_option(version("workflow-ctl"), prog_name="workflow")
@click.option("--traceback", is_flag=True, help="Show where an unexpected error comes from.")
def cli(traceback: bool) -> None:
    """Serve workflows, look at them, and steer their runs.

    The configuration is chosen by --config, WORKFLOW_CONFIG, the environment alone, or --embedded;
    definitions are found by --app or WORKFLOW_APP. Every command has --json.
    """


for command in (
    run,
    guard,
    check,
    workers,
    why,
    runs,
    trigger,
    callback,
    stats,
    schedules,
    letters,
    graph,
    adapters,
    config,
    db,
    move,
    ui,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; ends the process with the exit code (`exits`)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in words
    _open_streams()
    try:
        code = cli.main(words, prog_name="workflow", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.OK)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort as end:
        if isinstance(end.__cause__, KeyboardInterrupt):
            sys.exit(_interrupted())
        say("Aborted: nothing more was done.")
        sys.exit(Exit.NO)
    except click.ClickException as error:
        with suppress(OSError):
            if as_json:
                tell_json(error, error.format_message())
            else:
                error.show()
        sys.exit(Exit.UNWRITTEN if isinstance(error, OutputError) else Exit.USAGE)
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except Exception as error:
        if "--traceback" in words:
            raise
        sys.exit(unexpected(error, as_json=as_json))


def _interrupted() -> Exit:
    say("Interrupted: what was done so far is done.")
    return Exit.INTERRUPTED


def _open_streams() -> None:
    """What the parent has closed is written to nobody."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            to_nobody = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, to_nobody)
