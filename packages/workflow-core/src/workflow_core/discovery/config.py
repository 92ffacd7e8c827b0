"""The configuration of one engine: read, checked whole, and turned into adapters."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from workflow_core.discovery.build import Adapters, build, new_instance
from workflow_core.discovery.choosing import Chooser, Plan
from workflow_core.discovery.entry_points import Catalogue
from workflow_core.discovery.problems import Problems
from workflow_core.discovery.reader import DEFAULT, ConfigValue, Reader
from workflow_core.discovery.sources import FILE_VARIABLE, Sources
from workflow_core.errors import ConfigurationError
from workflow_core.ports import AdapterContext, Clock

__all__ = ["Config"]

SettingsT = TypeVar("SettingsT")

# Tables of ``[workflow]`` that are others' to check; whoever loads a configuration for another
# purpose (to list its values, say) must not stumble over them.
RESERVED_SECTIONS = frozenset({"engine"})

WAYS = (
    'a file: Engine.from_config("workflow.toml")',
    f"a file named by the environment: {FILE_VARIABLE}=workflow.toml",
    "the environment alone: WORKFLOW_RECORD_STORE=sql WORKFLOW_SQL__URL=…",
    'one SQLite file, durable, one machine: Engine.embedded("orders.db")',
    "in memory, gone with the process: Engine.in_memory()",
)


class Config:
    """A configuration without a mistake: `load` is the only way to one. Immutable; any thread.

    Holding one opens nothing; `build` does.
    """

    def __init__(
        self,
        *,
        sources: Sources,
        plans: Sequence[Plan],
        namespace: str,
        values: Sequence[ConfigValue],
    ) -> None:
        self._sources = sources
        self._plans = tuple(plans)
        self._namespace = namespace
        self._values = tuple(values)

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, object] | None = None,
        sections: Mapping[str, type[Any]] | None = None,
        catalogue: Catalogue | None = None,
    ) -> Config:
        """Read and check everything; imports the chosen adapters, and connects to nothing.

        What the caller gives counts before the environment, the environment before the file.

        Args:
            path: the TOML file; None: the one that ``WORKFLOW_CONFIG`` names, or none.
            environ: the environment; None: the process's.
            overrides: values by dotted key, such as {"adapters.sql.url": "sqlite:///orders.db"};
                texts are read as in the environment.
            sections: tables of the caller's own, as frozen dataclasses by name, to be checked with
                the rest: {"engine": EngineSettings}.
            catalogue: what is installed; None: what the interpreter finds.

        Raises:
            ConfigurationError: all problems, each with where it stands; or nothing is configured,
                and ``problems`` lists the ways to do so.
        """
        environ = os.environ if environ is None else environ
        sections = sections or {}
        sources = Sources.gather(path, environ, overrides or {})
        problems = Problems()
        reader = Reader(sources, problems)
        chooser = Chooser(reader, catalogue or Catalogue())
        chooser.choose()
        for name, schema in sections.items():
            reader.settings(schema, [(name,)])
        for name in RESERVED_SECTIONS - sections.keys():
            reader.ignore((name,))
        reader.note_strays()
        nothing_set = all(value.source == DEFAULT for value in reader.values.values())
        if nothing_set and not sources.file and len(problems) == 1:  # no record store, no mistake
            raise ConfigurationError("nothing is configured; there are these ways", problems=WAYS)
        problems.raise_if_any()
        return cls(
            sources=sources,
            plans=chooser.plans,
            namespace=chooser.namespace,
            values=list(reader.values.values()),
        )

    def section(self, name: str, schema: type[SettingsT]) -> SettingsT:
        """The table ``[workflow.NAME]`` as the frozen dataclass, with its overrides.

        Raises:
            ConfigurationError: all problems in it; none where `load` was given the section.
        """
        problems = Problems()
        reader = Reader(self._sources, problems)
        settings = reader.settings(schema, [(name,)])
        reader.note_strays()
        problems.raise_if_any()
        return cast(SettingsT, settings)

    @property
    def namespace(self) -> str:
        """What sets apart all names; "" for none."""
        return self._namespace

    @property
    def chosen(self) -> Sequence[Plan]:
        """The adapters that `build` makes, each with its settings as its factory takes them."""
        return self._plans

    def values(self) -> Sequence[ConfigValue]:
        """Every setting in use, defaults too, with its source; secrets are "…"."""
        return self._values

    def build(
        self,
        *,
        instance: str | None = None,
        clock: Clock | None = None,
        only: Collection[str] | None = None,
    ) -> Adapters:
        """Make the adapters, which opens what they need; close the answer when done.

        Each call makes new ones.

        Args:
            instance: this process among its peers, unique; None: one made of host and process id.
            clock: what adapters stamp and compare by; None: their servers' clocks.
            only: the ports to make, "record_store" always among them; None: all that are chosen.

        Raises:
            ConfigurationError: an adapter refused its settings, or is not what its port takes.
            AdapterError: an adapter could not be made; those made before it are closed.
        """
        context = AdapterContext(
            instance=instance or new_instance(), namespace=self._namespace, clock=clock
        )
        plans = [plan for plan in self._plans if only is None or plan.key in only]
        return build(plans, context)
