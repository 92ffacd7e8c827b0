"""What one command works with: its options, the configuration, the engine, the definitions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from workflow_core import Engine, EngineSettings, Workflow
from workflow_core.discovery import Config, embedded

from workflow_ctl.loading import load
from workflow_ctl.output import Output

__all__ = ["APP", "Session"]

APP = "WORKFLOW_APP"
AnyWorkflow = Workflow[Any, Any]


@dataclass
class Session:
    """One command's surroundings. One thread."""

    out: Output
    config_file: Path | None = None
    embedded_file: Path | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    apps: Sequence[str] = ()

    @cached_property
    def config(self) -> Config:
        """The configuration.

        Raises:
            ConfigurationError: all its problems.
        """
        sections = {"engine": EngineSettings}
        if self.embedded_file is not None:
            return embedded(self.embedded_file, overrides=self.overrides, sections=sections)
        return Config.load(self.config_file, overrides=self.overrides, sections=sections)

    @cached_property
    def engine(self) -> Engine:
        """The engine, opened once and closed with the command.

        Raises:
            ConfigurationError: all problems of the configuration.
            AdapterError: an adapter cannot be opened.
        """
        engine = Engine(self.config.build(), settings=self.config.section("engine", EngineSettings))
        click.get_current_context().find_root().call_on_close(engine.close)
        return engine

    @cached_property
    def workflows(self) -> dict[str, AnyWorkflow]:
        """The definitions that --app or the environment name, by name; may be none."""
        apps = list(self.apps) or os.environ.get(APP, "").split()
        return {workflow.name: workflow for workflow in load(apps)}

    def workflow(self, name: str) -> AnyWorkflow:
        """The definition of this name.

        Raises:
            click.UsageError: no definition is known by this name.
        """
        if name in self.workflows:
            return self.workflows[name]
        if not self.workflows:
            raise click.UsageError(
                f"the definition of {name!r} is needed; name its module with --app module:name, "
                f"or in {APP}"
            )
        known = ", ".join(repr(each) for each in self.workflows)
        raise click.UsageError(f"there is no workflow {name!r} in what --app names; it has {known}")

    def status_name(self, workflow: str, number: int) -> str:
        """The status's name where its definition is known, else its number."""
        known = self.workflows.get(workflow)
        names: dict[int, str] = {}
        if known is not None:
            names = {int(each): each.name for each in known.statuses}
        return names.get(number, str(number))
