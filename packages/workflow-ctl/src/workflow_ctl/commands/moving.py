"""Moving to other adapters: ``workflow move``.

The configuration of all commands is what is moved from; another file says where to. Only stores,
and the role schedulers that know who serves, are opened: the old broker may be gone already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.progress import Progress as Bars
from workflow_core import EngineSettings
from workflow_core.discovery import Adapters, Config
from workflow_core.errors import MoveError, WorkflowError
from workflow_core.moving import (
    Digest,
    Progress,
    Stores,
    copy,
    plan,
    served,
    switch,
    switch_timers,
)

from workflow_ctl.base import Command, configured, in_session, pairs
from workflow_ctl.output import bars, counted
from workflow_ctl.session import Session

__all__ = ["move"]

_STORES = ("record_store", "timeout_store")
_PORTS = (*_STORES, "role_scheduler")
_SETTINGS = "WORKFLOW_"
_QUESTION = "Does nobody serve, trigger or steer runs any more, and shall it be switched?"


@click.command(cls=Command)
@click.option(
    "--to",
    "target_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration to move to. Settings in the environment do not count for it.",
)
@click.option(
    "--to-set",
    "target_overrides",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="As --set, for the configuration to move to.",
)
@click.option("--dry-run", is_flag=True, help="Check both sides and count; write nothing.")
@click.option(
    "--switch",
    "switching",
    is_flag=True,
    help="Nobody serves any more: bring over the rest, compare both sides, and end the move.",
)
@click.option(
    "--timers",
    "timers_alone",
    is_flag=True,
    help="With --switch: only the timers, to another timeout store; the records stay.",
)
@click.option("--yes", is_flag=True, help="Do not ask before --switch: for scripts.")
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="How many runs, timers or events are in one question or transaction.",
)
@configured
@in_session
def move(
    session: Session,
    target_file: Path,
    target_overrides: tuple[tuple[str, str], ...],
    dry_run: bool,
    switching: bool,
    timers_alone: bool,
    yes: bool,
    batch: int,
) -> None:
    """Bring records, history, timers and outbox to the stores of another configuration.

    Copies while the old processes serve, as often as you like, and may be killed at any moment.
    Then stop them all, do it once more with --switch, and start them with the new configuration.

    Exit code 4: it is refused, or the two sides differ at the end; the text says what to do.
    """
    if dry_run and switching:
        raise click.UsageError("--dry-run writes nothing, --switch does: say one of them")
    if timers_alone and not switching:
        raise click.UsageError("--timers goes with --switch: timers alone move while nobody serves")
    goal = Config.load(
        target_file,
        environ={k: v for k, v in os.environ.items() if not k.startswith(_SETTINGS)},
        overrides=dict(target_overrides),
        sections={"engine": EngineSettings},
    )
    _refuse_memory(session.config, goal)
    with _opened(session.config, "moved from") as old, _opened(goal, str(target_file)) as new:
        source, target = _stores(old), _stores(new)
        if dry_run:
            _tell_plan(session, source, target)
        elif switching:
            _refuse_served(old, new)
            if not yes:
                click.confirm(_QUESTION, abort=True, err=True)
            with _Bar(session) as bar:
                switched = switch_timers if timers_alone else switch
                digest = switched(source, target, told=bar, batch=batch)
            _tell_digest(session, digest, target_file)
        else:
            with _Bar(session) as bar:
                copy(source, target, told=bar, batch=batch)
            _tell_copy(session, bar)


@contextmanager
def _opened(config: Config, side: str) -> Iterator[Adapters]:
    """The adapters of one side, once they have answered. Errors of that say which side's it is."""
    with ExitStack() as closing:
        try:
            adapters = closing.enter_context(config.build(only=_PORTS))
            for each in (adapters.record_store, adapters.timeout_store):
                if each is not None:
                    each.check_health()
        except WorkflowError as error:
            error.message = f"{side}: {error.message}"
            raise
        yield adapters


def _refuse_memory(*sides: Config) -> None:
    """Raises click.UsageError where stores are in memory."""
    for chosen in (each for side in sides for each in side.chosen):
        if chosen.key in _STORES and chosen.adapter.name == "memory":
            raise click.UsageError("what is in memory is one process's alone: nothing can be moved")


def _stores(adapters: Adapters) -> Stores:
    return Stores(records=adapters.record_store, timeouts=adapters.timeout_store)


def _refuse_served(*sides: Adapters) -> None:
    """Raises MoveError where a role scheduler knows of somebody who serves."""
    records = sides[0].record_store
    for side in sides:
        holders = [] if side.role_scheduler is None else served(records, side.role_scheduler)
        if holders:
            raise MoveError(
                "somebody still serves: " + ", ".join(holders),
                hint="Stop all processes; a role of one that was killed is free after its lease",
            )


def _tell_plan(session: Session, source: Stores, target: Stores) -> None:
    found = plan(source, target)
    session.out.answer(
        {
            "runs": found.runs,
            "timers": found.timers,
            "events": found.events,
            "stays_behind": list(found.stays_behind),
        },
        f"to be moved: {_counts(run=found.runs, timer=found.timers, event=found.events)}",
        *(f"stays behind: {phrase}" for phrase in found.stays_behind),
    )


def _tell_copy(session: Session, bar: _Bar) -> None:
    told = bar.told
    session.out.answer(
        {"verb": "copy", "stages": {k: {"seen": s, "written": w} for k, (s, w) in told.items()}},
        f"copied: {counted(told['runs'][0], 'run')} looked at, {told['runs'][1]} written",
        "To end the move stop all processes, then do this again with --switch",
    )


def _tell_digest(session: Session, digest: Digest, file: Path) -> None:
    session.out.answer(
        {
            "verb": "switch",
            "runs": digest.runs,
            "versions": digest.versions,
            "timers": digest.timers,
            "events": digest.events,
            "checksum": digest.checksum,
        },
        "the same on both sides: "
        + _counts(
            run=digest.runs, version=digest.versions, timer=digest.timers, event=digest.events
        ),
        f"checksum {digest.checksum}",
        f"Start the processes with {file}, and never serve the old stores again",
    )


def _counts(**counts: int) -> str:
    return ", ".join(counted(count, what) for what, count in counts.items())


class _Bar:
    """Shows how far it has come: bars on a terminal, else a line for each stage that is over.

    Attributes:
        told: how many were seen and written, by stage.
    """

    def __init__(self, session: Session) -> None:
        self.told: dict[str, tuple[int, int]] = {}
        self._note: Callable[[str], None] = session.out.note
        self._bars: Bars | None = None
        if session.out.errors.is_terminal:
            self._bars = bars(session.out.errors)

    def __enter__(self) -> _Bar:
        if self._bars is not None:
            self._bars.start()
        return self

    def __call__(self, progress: Progress) -> None:
        if progress.stage not in self.told:
            self._end_stage()
            if self._bars is not None:
                self._task = self._bars.add_task(progress.stage, total=progress.total)
        self.told[progress.stage] = (progress.seen, progress.written)
        if self._bars is not None:
            self._bars.update(self._task, completed=progress.seen)

    def __exit__(self, *failure: object) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._end_stage()

    def _end_stage(self) -> None:
        if self._bars is None and self.told:
            stage, (seen, written) = list(self.told.items())[-1]
            self._note(f"{stage}: {seen} looked at, {written} written")
