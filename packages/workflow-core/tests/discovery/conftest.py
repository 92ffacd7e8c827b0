"""Distributions that are not there, with adapters that do nothing but tell what became of them."""

import itertools
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from workflow_core.discovery import Catalogue
from workflow_core.discovery.groups import PORTS
from workflow_core.ports import AdapterContext

GROUPS = {port.key: port.group for port in PORTS}
KINDS = {port.key: port.kind for port in PORTS}


class Pretended(metadata.Distribution):
    """A distribution of two texts."""

    def __init__(self, name: str, version: str, entry_points: str) -> None:
        self.texts = {
            "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            "entry_points.txt": entry_points,
        }

    def read_text(self, filename: str) -> str | None:
        return self.texts.get(filename)

    def locate_file(self, path: Any) -> Any:
        return Path(path)


@pytest.fixture
def distributions() -> list[Pretended]:
    return []


@pytest.fixture
def catalogue(distributions: list[Pretended]) -> Catalogue:
    return Catalogue(
        lambda group: [
            point for one in distributions for point in one.entry_points if point.group == group
        ]
    )


@pytest.fixture
def pretend(distributions: list[Pretended], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a distribution: factories by port and name; a text is an entry point's own value."""
    numbers = itertools.count()

    def install(
        name: str, adapters: Mapping[str, Mapping[str, object]], version: str = "0.1.0"
    ) -> None:
        module = ModuleType(f"pretended_{next(numbers)}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        lines: list[str] = []
        for port, factories in adapters.items():
            lines.append(f"[{GROUPS[port]}]")
            for adapter, factory in factories.items():
                value = factory
                if not isinstance(factory, str):
                    setattr(module, f"{port}_{adapter}", factory)
                    value = f"{module.__name__}:{port}_{adapter}"
                lines.append(f"{adapter} = {value}")
        distributions.append(Pretended(name, version, "\n".join(lines)))

    return install


@pytest.fixture
def journal() -> list[str]:
    """What happened to adapters, in order."""
    return []


@pytest.fixture
def made() -> list[Any]:
    """The adapters that were made, in order; each has its ``settings`` and ``context``."""
    return []


@pytest.fixture
def factory(journal: list[str], made: list[Any]) -> Callable[[str, type[Any]], Any]:
    """A factory for a port that takes settings of this schema."""

    def factory_of(port: str, schema: type[Any]) -> Any:
        def close(self: Any) -> None:
            journal.append(f"closed {port}")

        body = dict.fromkeys(getattr(KINDS[port], "__abstractmethods__", ()))
        adapter_class = type(f"Pretended{port}", (KINDS[port],), {**body, "close": close})

        def make(settings: Any, context: AdapterContext) -> Any:
            adapter = adapter_class()
            adapter.settings, adapter.context = settings, context
            journal.append(f"made {port}")
            made.append(adapter)
            return adapter

        make.__annotations__["settings"] = schema
        return make

    return factory_of


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes ``workflow.toml`` into a fresh working directory; answers its name."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str) -> str:
        (tmp_path / "workflow.toml").write_text(text, encoding="utf-8")
        return "workflow.toml"

    return write_file
