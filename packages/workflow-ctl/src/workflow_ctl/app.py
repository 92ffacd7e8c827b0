"""The command itself: its groups and commands, and its ways to end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from workflow_ctl.base import Group, unexpected
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


@click.group(
    cls=Group,
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
    try:
        code = cli.main(words, prog_name="workflow", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else Exit.OK)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort as end:
        if isinstance(end.__cause__, KeyboardInterrupt):
            sys.exit(Exit.INTERRUPTED)
        sys.stderr.write("Aborted: nothing more was done.\n")
        sys.exit(Exit.NO)
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:  # the reader has had enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    except Exception as error:
        if "--traceback" in words:
            raise
        sys.exit(unexpected(error))
