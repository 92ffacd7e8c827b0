"""The command itself: its groups and commands, and its ways to end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from workflow_ctl.base import Group, tell_json, unexpected
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

_CODES = "\n".join(f"  {code.value:<4}{code.name.lower().replace('_', ' ')}" for code in Exit)


class _Root(Group):
    """Where the reader of its output has had enough, as `head` has, that is no mistake."""

    def make_context(self, *words: Any, **more: Any) -> click.Context:
        with _readers_may_leave():
            return super().make_context(*words, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _readers_may_leave():
            return super().invoke(ctx)


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as end:
        # rich ends the process by itself, with a code that is an answer of ours
        if not isinstance(end, BrokenPipeError) and not isinstance(
            end.__context__, BrokenPipeError
        ):
            raise
        # what is left to be flushed is not missed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(Exit.OK) from end


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
        sys.stderr.write("Aborted: nothing more was done.\n")
        sys.exit(Exit.NO)
    except click.ClickException as error:
        if as_json:
            tell_json(error, error.format_message())
        else:
            error.show()
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        sys.exit(_interrupted())
    except Exception as error:
        if "--traceback" in words:
            raise
        sys.exit(unexpected(error, as_json=as_json))


def _interrupted() -> Exit:
    sys.stderr.write("Interrupted: what was done so far is done.\n")
    return Exit.INTERRUPTED


def _open_streams() -> None:
    """What the parent has closed is written to nobody."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            to_nobody = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, to_nobody)
