"""What is installed, configured and well: adapters, config, check, db."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from importlib import metadata
from typing import Any

import click
from workflow_core import Health
from workflow_core.discovery import InstalledAdapter
from workflow_core.discovery import adapters as installed
from workflow_core.errors import AdapterUnavailableError, ConfigurationError, WorkflowError

from workflow_ctl.base import Command, Group, configured, in_session
from workflow_ctl.exits import Exit
from workflow_ctl.parsing import DURATION
from workflow_ctl.session import Session

__all__ = ["adapters", "check", "config", "db"]

_CORE = "workflow-core"
_LOWEST = re.compile(r"[>=~]=\s*(\d+\.\d+)")


@click.command(cls=Command)
@click.option("--open", "opened", is_flag=True, help="Open those configured; tell what each can.")
@configured
@in_session
def adapters(session: Session, opened: bool) -> None:
    """List the adapters that are installed, and whether this core can use them.

    The contract is the one of the suite that adapters are certified by, with the lowest core that
    the wheel is made for: the first two numbers of that core's version.
    """
    found = installed()
    claims = _capabilities(session) if opened else {}
    listed = [
        {
            "port": each.port,
            "name": each.name,
            "wheel": each.distribution,
            "version": each.version,
            "contract": _contract(each),
            "problem": _problem(each.entry_point),
            **({"capabilities": claims.get((each.port, each.name))} if opened else {}),
        }
        for each in found
    ]
    if session.out.as_json:
        session.out.document(listed)
        return
    columns = [
        "port",
        "name",
        "wheel",
        "version",
        "contract",
        *(["can"] if opened else []),
        "problem",
    ]
    rows = [
        [
            each["port"],
            each["name"],
            each["wheel"],
            each["version"],
            each["contract"],
            *([", ".join(each["capabilities"] or ())] if opened else []),
            each["problem"],
        ]
        for each in listed
    ]
    session.out.table(columns, rows, "no adapters are installed")


def _contract(adapter: InstalledAdapter) -> str:
    """Such as "0.1"; "" for a wheel that does not say which core it is made for."""
    if adapter.distribution == _CORE:
        return ".".join(adapter.version.split(".")[:2])
    for requirement in metadata.requires(adapter.distribution) or ():
        if re.match(rf"{_CORE}\b(?!-)", requirement) and (lowest := _LOWEST.search(requirement)):
            return lowest[1]
    return ""


def _problem(entry_point: Any) -> str:
    try:
        entry_point.load()
    except Exception as error:  # what a stranger's module raises on import
        return f"cannot be imported: {type(error).__name__}: {error}"
    return ""


def _capabilities(session: Session) -> dict[tuple[str, str], list[str]]:
    with session.config.build() as made:
        ports = {
            "record_store": made.record_store,
            "event_streamer": made.event_streamer,
            "role_scheduler": made.role_scheduler,
            "timeout_store": made.timeout_store,
        }
        return {
            (port, made.names[port]): sorted(each.name for each in adapter.capabilities)
            for port, adapter in ports.items()
            if adapter is not None
        }


@click.command(cls=Command)
@configured
@in_session
def config(session: Session) -> None:
    """Show each setting with its source; secrets are hidden. Connects to nothing."""
    values = session.config.values()
    if session.out.as_json:
        session.out.document(
            [{"key": each.key, "value": each.value, "source": each.source} for each in values]
        )
        return
    rows = [(each.key, each.value, each.source) for each in values]
    session.out.table(("setting", "value", "source"), rows, "nothing is configured")


@click.command(cls=Command)
@click.option("--timeout", type=DURATION, default="2s", show_default=True, help="For each adapter.")
@click.option(
    "--live/--ready",
    "asks_live",
    default=False,
    help="Which question the exit code answers; --ready by default.",
)
@configured
@in_session
def check(session: Session, timeout: timedelta, asks_live: bool) -> None:
    """Ask every adapter how it is; for probes, and before a deployment.

    --ready: exit code 0 where all are well, 1 where one is not. --live: 0 also while servers are
    away, since no new process would help; 1 where an adapter refuses for good. Either: 2 where the
    configuration is wrong. It looks at the adapters, not into another process: one that serves
    tells by its own endpoint whether it makes progress. How many processes serve over the record
    store (see workers) is told too, and is no part of the verdict.
    """
    try:
        health = session.engine.health(timeout)
    except ConfigurationError:
        raise
    except WorkflowError as error:  # it could not even be opened
        is_live = isinstance(error, AdapterUnavailableError)
        session.out.answer(
            {"live": is_live, "ready": False, "problems": [str(error)]}, f"not ready: {error}"
        )
        click.get_current_context().exit(Exit.OK if asks_live and is_live else Exit.NO)
    workers = _workers(session)
    if session.out.as_json:
        counted = None if workers is None else dict(workers)
        session.out.document({**health.to_dict(), "workers": counted})
    else:
        _tell_health(session, health, workers)
    click.get_current_context().exit(
        Exit.OK if (health.live if asks_live else health.ready) else Exit.NO
    )


def _tell_health(session: Session, health: Health, workers: Mapping[str, int] | None) -> None:
    rows = [
        (each.port, each.name, each.state, f"{each.latency.total_seconds() * 1000:.0f} ms",
         each.detail)
        for each in health.adapters
    ]  # fmt: skip
    session.out.table(("port", "adapter", "state", "latency", "detail"), rows, "no adapters")
    for problem in health.problems:
        session.out.note(problem)
    if workers is not None:
        told = [f"{count} {state}" for state, count in sorted(workers.items())]
        session.out.line(f"workers: {', '.join(told) or 'none'}")
    session.out.line("ready" if health.ready else "not ready")


def _workers(session: Session) -> Mapping[str, int] | None:
    """How many there are by state; None: not known, and the health says why."""
    try:
        return Counter(worker.state.value for worker in session.engine.workers())
    except WorkflowError:
        return None


@click.group(cls=Group)
def db() -> None:
    """The tables of the SQL adapters: upgrade, current, sql."""


@db.command()
@configured
@in_session
def upgrade(session: Session) -> None:
    """Make the tables, or bring them to this release's schema."""
    migrations, where = _migrations(session)
    migrations.upgrade(**where)
    _tell_state(session, migrations.current(**where))


@db.command()
@configured
@in_session
def current(session: Session) -> None:
    """Tell which schema is there. Exit code 1: this release cannot serve it."""
    migrations, where = _migrations(session)
    _tell_state(session, migrations.current(**where))


@db.command()
@click.option("--from", "start", metavar="SCHEMA", help="What is there, such as 0001.")
@configured
@in_session
def sql(session: Session, start: str | None) -> None:
    """Print what upgrade would execute, and connect to nothing."""
    migrations, where = _migrations(session)
    text = migrations.sql(**where, start=start)
    if session.out.as_json:
        session.out.document({"sql": text})
    else:
        click.echo(text, nl=False)


def _tell_state(session: Session, state: Any) -> None:
    session.out.answer(
        {
            "found": state.found,
            "wanted": state.wanted,
            "is_old": state.is_old,
            "is_too_new": state.is_too_new,
        },
        str(state),
    )
    click.get_current_context().exit(Exit.NO if state.is_old or state.is_too_new else Exit.OK)


def _migrations(session: Session) -> tuple[Any, dict[str, Any]]:
    """The functions of the SQL wheel, and the database that is configured."""
    for chosen in session.config.chosen:
        if chosen.adapter.distribution == "workflow-sql":
            from workflow_sql import migrations

            settings = chosen.settings
            return migrations, {
                "url": settings.url,
                "namespace": session.config.namespace,
                "schema": settings.schema,
            }
    raise click.UsageError("the configuration chooses no SQL adapter")
