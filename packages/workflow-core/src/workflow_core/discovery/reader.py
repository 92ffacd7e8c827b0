"""Reads settings, frozen dataclasses, field by field out of the sources, and misses no mistake."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from workflow_core.discovery.convert import (
    MismatchError,
    UnsupportedTypeError,
    convert,
    holds_secret,
)
from workflow_core.discovery.masking import HIDDEN, is_secretive, mask, shown
from workflow_core.discovery.problems import Problems, near_match
from workflow_core.discovery.sources import (
    PREFIX,
    Sources,
    TablePath,
    UnusableError,
    dotted,
    variable,
)
from workflow_core.errors import ConfigurationError
from workflow_core.ports import Secret

__all__ = ["DEFAULT", "ConfigValue", "Reader"]

DEFAULT = "default"  # the source of what nobody sets
_BAD = object()  # stands for a value that could not be had; its problem is noted


@dataclass(frozen=True)
class ConfigValue:
    """One setting as it counts.

    Attributes:
        key: its path within ``[workflow]``, such as "adapters.sql.url".
        value: for people: secrets and the passwords of URLs are "…".
        source: file, table and key; or the variable; "given by the caller"; or "default".
    """

    key: str
    value: str
    source: str


class Reader:
    """One pass over the sources. Notes each problem and goes on; one thread.

    Attributes:
        values: each setting that was read, by key.
        sources: what it reads from.
        problems: where mistakes are noted.
    """

    def __init__(self, sources: Sources, problems: Problems) -> None:
        self.sources = sources
        self.problems = problems
        self.values: dict[str, ConfigValue] = {}
        self._leaves: set[TablePath] = set()
        self._tables: set[TablePath] = set()
        self._ignored: set[TablePath] = set()

    # -- reading ---------------------------------------------------------------------------------

    def settings(
        self, schema: type[Any], tables: Sequence[TablePath], *, defaults: object = None
    ) -> Any | None:
        """An instance of the schema, or None where a problem was noted.

        Each field is looked for in all of the tables; the first that has it counts. What nobody
        sets is as in ``defaults``, an instance, or as the schema says.
        """
        values = self.fields(schema, tables, defaults=defaults)
        if any(field.init and field.name not in values for field in dataclasses.fields(schema)):
            return None
        try:
            return schema(**values)
        except ConfigurationError as problem:
            whats = problem.problems or (problem.message,)
        except ValueError as problem:
            whats = (str(problem),)
        # not chained: the author's sentence, and the error itself, may quote a secret
        for what in whats:
            self._refused(tables, _without_secrets(what, values.values()))
        return None

    def _refused(self, tables: Sequence[TablePath], what: str) -> None:
        """Note what the settings say of themselves; ``field: …`` is told where the field stands."""
        field, colon, rest = what.partition(": ")
        value = self.values.get(dotted((*tables[0], field)))
        if colon and value is not None and value.source != DEFAULT:
            self.problems.add(value.source, rest)
        else:
            self.problems.add(self._place_of(tables[0]), what)

    def fields(
        self, schema: type[Any], tables: Sequence[TablePath], *, defaults: object = None
    ) -> dict[str, Any]:
        """What could be read of the schema's fields; a problem was noted for each of the rest."""
        self._tables.update(tables)
        types = get_type_hints(schema)
        values = {
            field.name: self._field(
                [(*table, field.name) for table in tables],
                types[field.name],
                _default(field) if defaults is None else getattr(defaults, field.name),
            )
            for field in dataclasses.fields(schema)
            if field.init
        }
        return {name: value for name, value in values.items() if value is not _BAD}

    def leaf(self, path: TablePath, wanted: Any, *, default: object = MISSING) -> Any:
        """One value that is no schema's; the default also where a problem was noted.

        None where there is neither a value nor a default. A default is not listed in `values`.
        """
        self._tables.add(path[:-1])
        value = self._value([path], wanted, None if default is not MISSING else MISSING)
        if value is None:
            del self.values[dotted(path)]
        if value is None or value is _BAD:
            return None if default is MISSING else default
        return value

    def _field(self, paths: Sequence[TablePath], wanted: Any, default: object) -> object:
        nested = _nested_schema(wanted)
        if nested is None:
            return self._value(paths, wanted, default)
        self._tables.update(paths)
        if default is None and not any(map(self.sources.has_below, paths)):
            return None
        base = default if isinstance(default, nested) else None
        settings = self.settings(nested, paths, defaults=base)
        return _BAD if settings is None else settings

    def _value(self, paths: Sequence[TablePath], wanted: Any, default: object) -> object:
        self._leaves.update(paths)
        name = paths[0][-1]
        try:
            found = next(filter(None, map(self.sources.find, paths)), None)
        except UnusableError as problem:
            self.problems.add(problem.where, str(problem))
            return _BAD
        if found is None and default is MISSING:
            self._missing(paths[0])
            return _BAD
        if found is None:
            self._keep(paths[0], default, DEFAULT)
            return default
        try:
            value = convert(found.value, wanted, lax=found.lax)
        except MismatchError as mismatch:
            hide = holds_secret(wanted) or is_secretive(name)
            self.problems.add(found.where, mismatch.text(hide_value=hide))
            return _BAD
        except UnsupportedTypeError as problem:
            self.problems.add(found.where, f"{problem}; that is a mistake of the adapter's")
            return _BAD
        self._keep(paths[0], value, found.where)
        return value

    def _keep(self, path: TablePath, value: object, source: str) -> None:
        key = dotted(path)
        self.values[key] = ConfigValue(key, shown(value, name=path[-1]), source)

    def _missing(self, path: TablePath) -> None:
        place, name = self.sources.place(path), variable(path)
        other = "" if place == name else f" here or as {name}"
        self.problems.add(place, f"required; set it{other}")

    def _place_of(self, table: TablePath) -> str:
        if self.sources.file:
            return f"{self.sources.file} [{dotted(('workflow', *table))}]"
        return dotted(table)

    # -- what nobody asked for -------------------------------------------------------------------

    def claim(self, table: TablePath) -> None:
        """A table that holds tables alone: what is in it and was not read is a stray."""
        self._tables.add(table)

    def ignore(self, table: TablePath) -> None:
        """A table that is nobody's business now: what is in it is no stray."""
        self._ignored.add(table)

    def note_strays(self) -> None:
        """Note whatever is set in the tables that were read and that nobody reads."""
        self._note_strays_of_the_file()
        self._note_strays_of_the_environment()
        self._note_strays_of_the_caller()

    def _note_strays_of_the_file(self) -> None:
        for table in sorted(self._tables - self._ignored):
            for key, value in self.sources.table(table).items():
                path = (*table, key)
                if path in self._tables or path in self._ignored:
                    if not isinstance(value, dict):
                        self.problems.add(self.sources.place(path), "expected a table")
                elif path not in self._leaves:
                    what = "no such table" if isinstance(value, dict) else "no such setting"
                    near = near_match(key, self._names_in(table))
                    self.problems.add(self.sources.place(path), what + near)

    def _note_strays_of_the_environment(self) -> None:
        known: dict[str, TablePath] = {}
        for leaf in sorted(self._leaves):
            name = variable(leaf)
            if name in known and self.sources.is_set(name):
                both = f"{dotted(known[name])} and {dotted(leaf)}"
                self.problems.add(name, f"it would set two settings, {both}; rename one")
            known[name] = leaf
        for name in self.sources.variables():
            if name not in known and not self._beginning(name, self._ignored):
                self._note_stray_variable(name, known)

    def _note_stray_variable(self, name: str, known: Iterable[str]) -> None:
        beginning = self._beginning(name, self._tables)
        if beginning:
            what = "no such setting" + near_match(name, known, prefix=beginning)
            self.problems.add(name, what)
        elif () not in self._tables:
            return
        elif "__" in name:
            near = near_match(name, known, prefix=PREFIX)
            self.problems.add(name, f"no adapter of this name is chosen{near}")
        else:
            # other programs' variables may begin like ours: only what is nearly ours is a mistake
            near = near_match(name, known, prefix=PREFIX, cutoff=0.8)
            if near:
                self.problems.add(name, f"no such setting{near}")

    def _note_strays_of_the_caller(self) -> None:
        known = {dotted(leaf) for leaf in self._leaves}
        ignored = tuple(f"{dotted(table)}." for table in self._ignored)
        tables = [f"{dotted(table)}." for table in self._tables if table]
        for key in self.sources.overrides:
            beginning = max(filter(key.startswith, tables), key=len, default="")
            ours = bool(beginning) or () in self._tables
            if ours and key not in known and not key.startswith(ignored):
                near = near_match(key, known, prefix=beginning)
                self.problems.add(f"{key}, given by the caller", f"no such setting{near}")

    def _beginning(self, name: str, tables: Iterable[TablePath]) -> str:
        """What the variables of the innermost of the tables that has this one begin with."""
        beginnings = (f"{variable(table)}__" for table in tables if table)
        return max(filter(name.startswith, beginnings), key=len, default="")

    def _names_in(self, table: TablePath) -> set[str]:
        known = self._leaves | self._tables | self._ignored
        return {path[-1] for path in known if path and path[:-1] == table}


def _default(field: dataclasses.Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _nested_schema(wanted: Any) -> type[Any] | None:
    """The dataclass that a field holds, or holds if it is set at all."""
    members = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    classes = [member for member in members if member is not NoneType]
    if len(classes) == 1 and dataclasses.is_dataclass(classes[0]):
        return cast("type[Any]", classes[0])
    return None


def _without_secrets(sentence: str, values: Iterable[object]) -> str:
    for secret in filter(None, _secrets(list(values))):
        # whole words only: a short one, cut out of other words, would be told by the holes
        whole = rf"(?<!\w){re.escape(secret)}(?!\w)"
        sentence = re.sub(whole, HIDDEN, sentence)
    return mask(sentence)


def _secrets(value: object) -> Iterator[str]:
    """Every secret text in a value, however deep."""
    if isinstance(value, Secret):
        yield value.reveal()
    elif dataclasses.is_dataclass(value):
        yield from _secrets([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        yield from _secrets(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item)
