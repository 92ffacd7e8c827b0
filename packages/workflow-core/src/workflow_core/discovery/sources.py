"""Where raw values come from: what the caller gives, the environment, a TOML file, in this order.

A setting is named by its path within ``[workflow]``: ``("adapters", "sql", "url")`` is ``url`` in
``[workflow.adapters.sql]``, the variable ``WORKFLOW_SQL__URL``, and ``adapters.sql.url`` in code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workflow_core.discovery.interpolation import InterpolationError, interpolate
from workflow_core.discovery.problems import near_match
from workflow_core.errors import ConfigurationError

__all__ = [
    "FILE_VARIABLE",
    "PREFIX",
    "Found",
    "Sources",
    "TablePath",
    "UnusableError",
    "dotted",
    "variable",
]

TablePath = tuple[str, ...]

PREFIX = "WORKFLOW_"
FILE_VARIABLE = "WORKFLOW_CONFIG"
_TABLE = "workflow"


@dataclass(frozen=True)
class Found:
    """A raw value and where it stands.

    Attributes:
        value: as TOML, the environment or the caller gave it.
        where: the file, table and key; or the variable; or the key and "given by the caller".
        lax: it is, or was made of, a text that could not say its type.
    """

    value: object = field(repr=False)
    where: str
    lax: bool


class UnusableError(Exception):
    """A value is there and cannot be had: ``where`` it stands and, as text, why."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


def dotted(path: TablePath) -> str:
    """The path as one key: ``adapters.sql.url``."""
    return ".".join(path)


def variable(path: TablePath) -> str:
    """The variable that sets it: ``WORKFLOW_SQL__URL``; of a table, what its variables begin with.

    The word "adapters" is left out: most of what anybody sets is an adapter's.
    """
    parts = path[1:] if path[:1] == ("adapters",) else path
    return PREFIX + "__".join(re.sub(r"[^A-Z0-9]", "_", part.upper()) for part in parts)


class Sources:
    """All that was given. Immutable; any thread.

    Args:
        file: the file's name as the user gave it, or "" where there is none.
        tables: what the file's ``[workflow]`` holds.
        environ: the environment.
        overrides: what the caller gives, by dotted key.
    """

    def __init__(
        self,
        *,
        file: str,
        tables: Mapping[str, object],
        environ: Mapping[str, str],
        overrides: Mapping[str, object],
    ) -> None:
        self.file = file
        self.overrides = dict(overrides)
        self._tables = tables
        self._environ = dict(environ)

    @classmethod
    def gather(
        cls,
        path: str | Path | None,
        environ: Mapping[str, str],
        overrides: Mapping[str, object],
    ) -> Sources:
        """Read the file named by the path, else by the environment, else none.

        Raises:
            ConfigurationError: the file cannot be read or is no TOML.
        """
        file = str(path) if path is not None else environ.get(FILE_VARIABLE, "")
        tables = read_file(file, named_by="" if path is not None else FILE_VARIABLE) if file else {}
        return cls(file=file, tables=tables, environ=environ, overrides=overrides)

    def variables(self) -> Iterator[str]:
        """The variables that may be meant for us, in order."""
        ours = (name for name in self._environ if name.startswith(PREFIX) and name != FILE_VARIABLE)
        return iter(sorted(ours))

    def is_set(self, name: str) -> bool:
        """Whether the environment has the variable."""
        return name in self._environ

    def find(self, path: TablePath) -> Found | None:
        """The value that counts, or None where nobody gives one.

        Raises:
            UnusableError: it names a variable that is not set.
        """
        key, name = dotted(path), variable(path)
        if key in self.overrides:
            return Found(self.overrides[key], f"{key}, given by the caller", lax=True)
        if name in self._environ:
            return Found(self._environ[name], name, lax=True)
        table = self.table(path[:-1])
        return self._from_file(path, table[path[-1]]) if path[-1] in table else None

    def _from_file(self, path: TablePath, raw: object) -> Found:
        where = self.place(path)
        try:
            filled = interpolate(raw, self._environ)
        except InterpolationError as problem:
            raise UnusableError(where, str(problem)) from None
        if filled.variables:
            where = f"{where}, with {' and '.join(filled.variables)}"
        return Found(filled.value, where, lax=bool(filled.variables))

    def place(self, path: TablePath) -> str:
        """How a person finds the setting: in the file, or by its variable where there is none."""
        if not self.file:
            return variable(path)
        return f"{self.file} [{dotted((_TABLE, *path[:-1]))}] {path[-1]}"

    def table(self, path: TablePath) -> Mapping[str, object]:
        """The file's table, or an empty one where it has none."""
        table: object = self._tables
        for key in path:
            table = table.get(key) if isinstance(table, Mapping) else None
        return table if isinstance(table, Mapping) else {}

    def has_below(self, path: TablePath) -> bool:
        """Whether anything in the table at ``path`` is set by anybody."""
        return (
            bool(self.table(path))
            or any(key.startswith(f"{dotted(path)}.") for key in self.overrides)
            or any(name.startswith(f"{variable(path)}__") for name in self._environ)
        )

    def connector_names(self) -> list[str]:
        """Every connector that is declared, by whomever; a variable declares it in lower case."""
        names = list(self.table(("connectors",)))
        by_caller = (re.fullmatch(r"connectors\.(.+)\.adapter", key) for key in self.overrides)
        names += [found[1] for found in by_caller if found and found[1] not in names]
        head, tail = f"{variable(('connectors',))}__", "__ADAPTER"
        taken = {variable(("connectors", name)) for name in names}
        declaring = (name for name in self.variables() if name.endswith(tail))
        tables = (name.removesuffix(tail) for name in declaring if name.startswith(head))
        return names + [it.removeprefix(head).lower() for it in tables if it not in taken]


def read_file(file: str, *, named_by: str) -> Mapping[str, object]:
    """The file's ``[workflow]`` table, empty where it has none.

    Raises:
        ConfigurationError: it cannot be read, is no TOML, or has no such table but one that looks
            meant for it.
    """
    told = f"{file} (named by {named_by})" if named_by else file
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as problem:
        raise _unreadable(f"{told}: {problem}") from problem
    except UnicodeDecodeError:
        # not chained: it holds the file's bytes, and with them its secrets
        raise _unreadable(f"{told}: the file is not in UTF-8") from None
    except OSError as problem:
        raise _unreadable(f"{told}: {problem.strerror}") from problem
    strays = [stray for key in content if (stray := _misplaced(key))]
    if strays:
        raise ConfigurationError(
            "a table is at the wrong place",
            problems=tuple(f"{told} [{stray}" for stray in strays),
        )
    table = content.get(_TABLE, {})
    if not isinstance(table, dict):
        raise _unreadable(f"{told} {_TABLE}: expected a table [{_TABLE}]")
    return table


def _misplaced(key: str) -> str:
    """What is wrong with a name at the top of the file; other programs' tables are welcome."""
    if key in {"adapters", "connectors"}:
        return f"{key}]: expected [{_TABLE}.{key}]"
    near = near_match(key, [_TABLE], cutoff=0.8) if key != _TABLE else ""
    return f"{key}]: no such table{near}" if near else ""


def _unreadable(problem: str) -> ConfigurationError:
    return ConfigurationError("the configuration file cannot be read", problems=(problem,))
