"""What all commands share: their common options, and how errors end them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from workflow_core.errors import WorkflowError

from workflow_ctl.exits import Exit, exit_of
from workflow_ctl.output import Output, plain
from workflow_ctl.session import APP, Session

__all__ = [
    "Command",
    "Group",
    "configured",
    "defined",
    "in_session",
    "pairs",
    "say",
    "tell_json",
    "unexpected",
]

F = TypeVar("F", bound=Callable[..., Any])

_OWN = ("as_json", "config_file", "embedded_file", "overrides", "apps")


class Command(click.Command):
    """A command with ``--json``, whose first argument is the `Session`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.append(
            click.Option(
                ["--json", "as_json"], is_flag=True, help="Print one JSON document, and no text."
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; errors of ours become a message and an exit code, never a traceback."""
        own = {name: ctx.params.pop(name, None) for name in _OWN}
        as_json = bool(own["as_json"])
        _check_text(ctx)
        ctx.obj = Session(
            Output(as_json=as_json),
            config_file=own["config_file"],
            embedded_file=own["embedded_file"],
            overrides=dict(own["overrides"] or ()),
            apps=own["apps"] or (),
        )
        try:
            return super().invoke(ctx)
        except WorkflowError as error:
            _tell(error, as_json)
            ctx.exit(exit_of(error))


class Group(click.Group):
    """A group of such commands, in the order in which they were added."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added: the order in which a person needs them."""
        return list(self.commands)


Group.group_class = Group


def in_session(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its `Session` as the first argument."""

    @functools.wraps(command)
    def called(*words: Any, **options: Any) -> None:
        command(click.get_current_context().obj, *words, **options)

    return called


def configured(command: F) -> F:
    """Add the options that choose a configuration."""
    for option in (
        click.option(
            "--embedded",
            "embedded_file",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Everything in this SQLite file, and no configuration.",
        ),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            callback=pairs,
            help="A setting, such as adapters.sql.lock_timeout=2s; before all others.",
        ),
        click.option(
            "-c",
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The configuration; else the file that WORKFLOW_CONFIG names, or the environment.",
        ),
    ):
        command = option(command)
    return command


def defined(command: F) -> F:
    """Add the option that names definitions."""
    return click.option(
        "--app",
        "apps",
        multiple=True,
        metavar="MODULE[:NAME]",
        help=f"Where the workflows are defined; else {APP}, several apart by spaces.",
    )(command)


def pairs(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """An option's KEY=VALUE, given several times."""
    found = [tuple(value.split("=", 1)) for value in values]
    for pair in found:
        if len(pair) != 2:
            raise click.BadParameter(f"{pair[0]!r} has no '='", ctx, param)
    return tuple((key, value) for key, value in found)


def _check_text(ctx: click.Context) -> None:
    """Bytes that are no UTF-8 come as half characters, which nothing can store or look for."""
    for param in ctx.command.params:
        value = ctx.params.get(param.name or "")
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise click.BadParameter("it is not in UTF-8", ctx, param) from None


def _tell(error: WorkflowError, as_json: bool) -> None:
    if as_json:
        tell_json(
            error,
            error.message,
            hint=error.hint,
            workflow=error.workflow,
            run_id=error.run_id,
            problems=list(getattr(error, "problems", ())),
        )
        return
    for line in str(error).split("\n"):
        say(plain(line))


def say(line: str) -> None:
    """One line on standard error; where that is full the exit code has to do."""
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")


def tell_json(error: Exception, message: str, **more: object) -> None:
    """One line on standard error for programs; what is empty is left out."""
    told = {"error": type(error).__name__, "message": message, **more}
    say(json.dumps({key: value for key, value in told.items() if value}))


def unexpected(error: Exception, *, as_json: bool) -> Exit:
    """Say that something is a mistake of ours, without a wall of text."""
    if as_json:
        tell_json(error, str(error))
        return Exit.FAILED
    say(f"workflow: {type(error).__name__}: {plain(error)}")
    say(
        "This is a mistake of the command or of an adapter; --traceback before the command tells"
        " where."
    )
    return Exit.FAILED
